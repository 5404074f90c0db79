package child

import (
	"fmt"
	"os"
	"strings"
)

// Path is the PATH of every child.
const Path = "/usr/local/bin:/usr/bin:/bin"

// kept are the variables of the server's own environment that children have too: how
// text and time look, nothing else. What the server was started with may be secret.
var kept = []string{"TZ", "LANG", "LC_ALL", "LC_CTYPE"}

// Environ returns what the environment of a child begins with, to which more follows: a
// PATH, and the language and time zone of the server where it has them.
func Environ(more ...string) []string {
	env := []string{"PATH=" + Path}
	for _, name := range kept {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}

// checkEnv returns an error for an entry that has no name, or that the kernel would cut.
func checkEnv(env []string) error {
	for _, e := range env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" || strings.ContainsRune(e, 0) {
			return fmt.Errorf("environment: %q is no NAME=VALUE", e)
		}
	}
	return nil
}
