package main

import (
	"fmt"
	"strconv"
	"strings"

	"yodel"
)

// section is one part of what INFO answers.
type section struct {
	name string
	text func(*store) string
}

func infoSections() []section {
	return []section{
		{"server", func(*store) string {
			return "server_name:kv\r\nredis_mode:standalone\r\n"
		}},
		{"clients", func(st *store) string {
			return fmt.Sprintf("connected_clients:%d\r\n", st.stats.clients)
		}},
		{"memory", func(st *store) string {
			return fmt.Sprintf("used_memory:%d\r\nmaxmemory:%d\r\nmaxmemory_policy:noeviction\r\n",
				st.used, st.limits.maxBytes)
		}},
		{"stats", func(st *store) string {
			t := st.stats
			return fmt.Sprintf("total_connections_received:%d\r\ntotal_commands_processed:%d\r\n"+
				"expired_keys:%d\r\nkeyspace_hits:%d\r\nkeyspace_misses:%d\r\n",
				t.connections, t.commands, t.expired, t.hits, t.misses)
		}},
		{"keyspace", func(st *store) string {
			if len(st.entries) == 0 {
				return ""
			}
			return fmt.Sprintf("db0:keys=%d,expires=%d\r\n", len(st.entries), len(st.expiries))
		}},
	}
}

// info answers with all sections, or with those that are named.
func (s *session) info(args [][]byte, out *yodel.Out) error {
	var text strings.Builder
	for _, sec := range infoSections() {
		if !isNamed(args, sec.name) {
			continue
		}
		if text.Len() > 0 {
			text.WriteString(crlf)
		}
		fmt.Fprintf(&text, "# %s\r\n%s", strings.ToUpper(sec.name[:1])+sec.name[1:], sec.text(s.store))
	}
	bulkString(out, text.String())
	return nil
}

// isNamed reports whether a section is among args, or args are empty or name them all.
func isNamed(args [][]byte, name string) bool {
	for _, arg := range args {
		switch word := strings.ToLower(string(arg)); word {
		case name, "all", "default", "everything":
			return true
		}
	}
	return len(args) == 0
}

// settingsShown are what CONFIG GET knows, by name; redis-benchmark asks for the first
// two.
func settingsShown(l limits) [][2]string {
	return [][2]string{
		{"save", ""},
		{"appendonly", "no"},
		{"maxmemory", strconv.FormatInt(l.maxBytes, 10)},
		{"maxmemory-policy", "noeviction"},
		{"proto-max-bulk-len", strconv.Itoa(l.maxValue)},
	}
}

func (s *session) config(args [][]byte, out *yodel.Out) error {
	if !strings.EqualFold(string(args[0]), "get") || len(args) < 2 {
		unknownSubcommand(out, "config", args[0])
		return nil
	}
	var found []string
	for _, setting := range settingsShown(s.store.limits) {
		if asksFor(args[1:], setting[0]) {
			found = append(found, setting[:]...)
		}
	}
	array(out, len(found))
	for _, text := range found {
		bulkString(out, text)
	}
	return nil
}

func asksFor(args [][]byte, name string) bool {
	for _, arg := range args {
		if word := string(arg); word == "*" || strings.EqualFold(word, name) {
			return true
		}
	}
	return false
}

// command answers with the table of commands; COMMAND DOCS, which redis-cli asks for
// its help, with none of it.
func (s *session) command(args [][]byte, out *yodel.Out) error {
	table := shownVerbs()
	sub := ""
	if len(args) > 0 {
		sub = strings.ToLower(string(args[0]))
	}
	switch {
	case len(args) == 0:
		array(out, len(table))
		for _, v := range table {
			v.show(out)
		}
	case sub == "count" && len(args) == 1:
		integer(out, int64(len(table)))
	case sub == "docs":
		array(out, 0)
	default:
		unknownSubcommand(out, "command", args[0])
	}
	return nil
}

// shownVerbs are the verbs that are commands.
func shownVerbs() []verb {
	var shown []verb
	for _, v := range verbTable() {
		if v.flags != "" {
			shown = append(shown, v)
		}
	}
	return shown
}

// show writes the verb as COMMAND does.
func (v *verb) show(out *yodel.Out) {
	array(out, 6)
	bulkString(out, v.name)
	integer(out, int64(v.words))
	flags := strings.Fields(v.flags)
	array(out, len(flags))
	for _, f := range flags {
		out.WriteString("+" + f + crlf)
	}
	integer(out, int64(v.keys.first))
	integer(out, int64(v.keys.last))
	integer(out, int64(v.keys.step))
}

func unknownSubcommand(out *yodel.Out, command string, sub []byte) {
	failf(out, "ERR unknown subcommand or wrong number of arguments for '%s' of '%s'", oneLine(sub, shownBytes), command)
}
