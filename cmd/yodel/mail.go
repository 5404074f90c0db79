package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"yodel/internal/escape"
	"yodel/service/mail"
)

func newMail(io std) *cobra.Command {
	r := &mail.Reading{}
	cmd := &cobra.Command{
		Use:   "mail --spool DIR [MAILBOX [NUMBER]]",
		Short: "List and show what is in a mail spool",
		Long: `List the mailboxes of a spool, the messages of MAILBOX, or show one message of it. MAILBOX is
its name, or a recipient's address. Any folder of mbox files or Maildirs can be read,
/var/mail for example; nothing is changed in it. What would drive a terminal is escaped.`,
		Example: `  yodel mail --spool spool
  yodel mail --spool spool alice
  yodel mail --spool spool alice 1
  yodel mail --spool spool alice 1 --raw`,
		Hidden: true, Annotations: map[string]string{"advanced": "true"},
		Args: cobra.MaximumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if r.Dir == "" {
				return usagef("say which spool: --spool DIR")
			}
			if err := readArgs(r, args); err != nil {
				return err
			}
			return mail.Read(io.out, r)
		},
	}
	cmd.Flags().StringVar(&r.Dir, "spool", "", "the `folder` that has the mailboxes")
	cmd.Flags().BoolVar(&r.Raw, "raw", false, "write a message as it is stored, each byte of it")
	cmd.Flags().BoolVar(&r.JSON, "json", false, "print JSON lines")
	cmd.MarkFlagsMutuallyExclusive("raw", "json")
	return cmd
}

// readArgs reads MAILBOX and NUMBER.
func readArgs(r *mail.Reading, args []string) error {
	if len(args) > 0 {
		r.Box = args[0]
	}
	if len(args) > 1 {
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 1 {
			return usagef("%q is no number of a message: they begin with 1", escape.StringN(args[1], 80))
		}
		r.Number = n
	}
	if r.Raw && r.Number == 0 {
		return usagef("--raw is for one message: give its mailbox and its number")
	}
	return nil
}
