package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"yodel/internal/users"
)

func newPasswd(io std) *cobra.Command {
	home, remove := "", false
	cmd := &cobra.Command{
		Use:   "passwd FILE NAME",
		Short: "Write who may log in: the users file of serve",
		Long: `Give the user NAME a password in FILE, the --users of serve: a new line, or the user's own
in place. The file is made if there is none. The password is asked for twice on a terminal,
and is otherwise the first line of standard input; only its hash (argon2id) is written.
Servers that use the file need not be restarted.`,
		Example: `  yodel passwd users ada
  yodel passwd users bob --home /bob
  yodel passwd users bob --remove`,
		Hidden: true, Annotations: map[string]string{"advanced": "true"},
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			file, name := args[0], args[1]
			if remove {
				return removeUser(io, file, name)
			}
			return setPassword(io, file, name, home)
		},
	}
	cmd.Flags().StringVar(&home, "home", "", "the folder, below that which is served, that is all the user sees")
	cmd.Flags().BoolVar(&remove, "remove", false, "take the user out of the file")
	cmd.MarkFlagsMutuallyExclusive("home", "remove")
	return cmd
}

func removeUser(s std, file, name string) error {
	if err := users.Remove(file, name); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s is no longer in %s\n", name, file)
	return nil
}

func setPassword(s std, file, name, home string) error {
	if err := users.CheckName(name); err != nil {
		return usageError{err}
	}
	password, err := askPassword(s, name)
	if err != nil {
		return err
	}
	if err := users.CheckPassword(password); err != nil {
		return usageError{err}
	}
	made, err := users.Set(file, name, password, home)
	switch {
	case err != nil:
		return err
	case made:
		fmt.Fprintf(s.out, "%s is now in %s\n", name, file)
	default:
		fmt.Fprintf(s.out, "%s has a new password in %s\n", name, file)
	}
	return nil
}

// askPassword returns what the person at the terminal types, twice, or the first line of
// an input that is no terminal.
func askPassword(s std, name string) (string, error) {
	if tty, ok := s.in.(*os.File); ok && isTerminal(tty) {
		return typedPassword(s.err, name, func() ([]byte, error) { return term.ReadPassword(int(tty.Fd())) })
	}
	line, err := bufio.NewReader(io.LimitReader(s.in, 4<<10)).ReadString('\n')
	if err != nil && (err != io.EOF || line == "") {
		return "", usagef("no password on standard input: write it there, in one line")
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func typedPassword(prompt io.Writer, name string, read func() ([]byte, error)) (string, error) {
	var typed [2]string
	for i, text := range []string{"New password for " + name, "Again"} {
		fmt.Fprintf(prompt, "%s: ", text)
		word, err := read()
		fmt.Fprintln(prompt)
		if err != nil {
			return "", err
		}
		typed[i] = string(word)
	}
	if typed[0] != typed[1] {
		return "", errors.New("these are two passwords: nothing was changed")
	}
	return typed[0], nil
}
