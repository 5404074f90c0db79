package archtest

import (
	"fmt"
	"strings"
)

const goLine = "go 1.26.0"

// What go.mod must not hold: a word of it that starts so, and why.
var notInGoMod = []struct{ word, why string }{
	{"replace", "a program that imports this module would not get the replacement"},
	{"toolchain", "any Go of the version on the go line builds it"},
	{"tool", "the tools have a module of their own, in tools"},
	{"honnef.co/go/tools", "the tools have a module of their own, in tools"},
	{"mvdan.cc/gofumpt", "the tools have a module of their own, in tools"},
	{"golang.org/x/perf", "the tools have a module of their own, in tools"},
	{"github.com/panjf2000/gnet/v2", "the peers of measurements have a module of their own, in bench"},
	{"github.com/lesismal/nbio", "the peers of measurements have a module of their own, in bench"},
	{"github.com/cloudwego/netpoll", "the peers of measurements have a module of their own, in bench"},
	{"github.com/tidwall/evio", "the peers of measurements have a module of their own, in bench"},
	{"fortio.org/fortio", "the peers of measurements have a module of their own, in bench"},
	{"github.com/tsenart/vegeta/v12", "the peers of measurements have a module of their own, in bench"},
}

// badGoMod returns what is wrong with the text of a go.mod, a line for each place.
func badGoMod(text string) []string {
	var found []string
	if !strings.Contains(text, "\n"+goLine+"\n") {
		found = append(found, fmt.Sprintf("go.mod: the go line is not %q, the oldest Go that is supported", goLine))
	}
	for line := range strings.Lines(text) {
		if why := banned(strings.Fields(line)); why != "" {
			found = append(found, fmt.Sprintf("go.mod: %s: %s", strings.TrimSpace(line), why))
		}
	}
	return found
}

// banned returns why a line of go.mod must not be there, "" if it may.
func banned(words []string) string {
	if len(words) > 1 && words[0] == "require" {
		words = words[1:]
	}
	for _, b := range notInGoMod {
		if len(words) > 0 && words[0] == b.word {
			return b.why
		}
	}
	return ""
}
