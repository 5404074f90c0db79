// Package rio is robust I/O after the RIO package of Bryant and O'Hallaron,
// "Computer Systems: A Programmer's Perspective": reads and writes that do not
// stop half way, and lines with a bound, over files, pipes and sockets. What a
// read brings and where a line ends have nothing to do with each other; here it
// does not show how the bytes were cut on their way.
//
//	rio_readn      [ReadFull]         n bytes, fewer only at the end of input
//	rio_writen     [WriteFull]        all bytes
//	rio_readinitb  [NewReader]        a Reader with its buffer
//	rio_readlineb  [Reader.ReadLine]  a line
//	rio_readnb     [Reader.ReadFull]  n bytes through the Reader's buffer
//
// and inside that package rio_read, which is [Reader.Read]. A [Writer] is the
// counterpart that RIO does not have. A [Head] keeps the beginning of an output.
//
// # Lines and their bound
//
// A line is what ends in a newline (LF, 0x0A); the newline belongs to it, and so
// does a CR in front, until [Trim] cuts them. What stands between the last
// newline and the end of input is a line too.
//
// Each line has a bound, max: at most max bytes, the newline included. It is what
// rio_readlineb calls maxlen-1. max bytes without a newline among them are an
// overlong line, whatever follows, even if it is the end of input; so the
// judgement falls with byte number max and waits for nothing. An overlong line is
// treated in one of two ways:
//
//   - [SplitLong] hands it out in pieces of max bytes, the last one shorter, as
//     rio_readlineb does. Nothing is lost.
//   - [RefuseLong] reports [ErrTooLong], once, and throws the line away. What is
//     read next begins behind its newline. Lines before it are not affected.
//
// [Split] is the rule itself, a pure function. [Lines] adds the two ways, for
// programs that do their own I/O or none. [Reader] adds the I/O.
//
// # Errors
//
// Bytes come first: an error that a source returns together with bytes, or behind
// them, is reported when those bytes have been handed out. Half a line at a
// failure is the exception: ReadLine reports the failure, Read has the half.
//
// Then an error stays: every later call reports it, and the source or destination
// is not asked again. Two kinds pass, and the next call goes on where this one
// stood, with the part of a line that had come:
//
//   - timeouts: errors whose Timeout method says so, such as
//     os.ErrDeadlineExceeded. ETIMEDOUT, by which TCP gives a connection up, is
//     none here, although its method says so too: it stays.
//   - 100 calls in a row that neither did anything nor failed: [io.ErrNoProgress]
//     for a source, [io.ErrShortWrite] for a destination.
//
// EINTR and EAGAIN do not reach Go programs from files and sockets: the runtime
// repeats the call, or parks the goroutine until the descriptor is ready. For
// sources and destinations of other makes, a call that failed with EINTR is
// repeated, and EAGAIN is a timeout.
package rio
