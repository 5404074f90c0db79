// Package spool keeps mail in a folder: one mailbox for each recipient, as an mbox
// file or as a Maildir. A message for which [Draft.Commit] has returned nil is on
// the disk, whole, in every mailbox it is for, or will be when the spool is opened
// the next time; of a message for which it has not, nothing half is left. That
// holds when the process is killed, and when the power fails.
//
// # The folder
//
//	alice            a mailbox: a file (mbox) or a folder with tmp, new, cur (Maildir)
//	bob@example.org  another one; how names come about is told at [Name]
//	.yodel/lock      locked by the one process that has the spool open
//	.yodel/format    "mbox" or "maildir"
//	.yodel/tmp       messages that are being received
//	.yodel/journal   mbox only: messages that are on their way into mailboxes
//
// Nothing is ever opened outside of it: all access is by way of [os.Root]. Lines of
// stored messages end in LF, as mail readers on Unix want it.
//
// # Maildir
//
// A message is written to a file in .yodel/tmp, the file is synced (fsync), renamed
// into the folder new of its mailbox, and that folder is synced. Further mailboxes
// get a hard link first. If a step fails, the steps before it are taken back.
//
// # mbox
//
// A message is first written to the journal, together with others that come at the
// same time, and the journal is synced: then the message is durable. A mailbox is
// appended to under its locks, which are those that mail readers take: fcntl(2),
// then the file NAME.lock. The length that the mailbox had is in the journal before,
// and synced. So who opens the spool after a crash can compare what is behind that
// length with what should be there: the whole of it is left alone, a part is cut
// off and written again, and what somebody else has changed meanwhile is not touched:
// the messages are then appended, so that one may be there twice rather than not at
// all.
//
// Commit also waits until the message can be seen in its mailboxes, at most a second
// longer: a mail reader that holds a mailbox locked delays nobody.
//
// In a mailbox, lines that begin with "From ", or with that behind any number of
// ">", have one more ">" in front (mboxrd), so that every message can be given back
// as it was.
package spool
