package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// neverFromEnvironment lists the flags that somebody must type: those that loosen
// safety, and the file in which others may stand that do. A variable is inherited by
// programs that nobody thought of; a file is written for one server, and named.
var neverFromEnvironment = map[string]string{
	"insecure": loosens, "all-users": loosens, "accept-all": loosens, "plain-text-is-fine": loosens, "amplify": loosens,
	"config": "may loosen safety",
}

const loosens = "loosens safety"

// fromEnvironment sets each flag that was not given from YODEL_<COMMAND>_<FLAG>.
func fromEnvironment(cmd *cobra.Command, lookup func(string) (string, bool)) error {
	var err error
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		name := envName(cmd.Name(), f.Name)
		value, ok := lookup(name)
		switch {
		case !ok || f.Name == "help" || err != nil:
		case neverFromEnvironment[f.Name] != "":
			err = usagef("%s %s and is not taken from the environment: say --%s on the command line, or unset it", name, neverFromEnvironment[f.Name], f.Name)
		case !f.Changed:
			if setErr := cmd.Flags().Set(f.Name, value); setErr != nil {
				err = usagef("%s=%q: %w", name, value, setErr)
			}
		}
	})
	return err
}

func envName(command, flag string) string {
	return "YODEL_" + strings.ToUpper(strings.ReplaceAll(command+"_"+flag, "-", "_"))
}
