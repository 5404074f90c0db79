package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/spf13/pflag"

	"yodel/internal/escape"
)

// ofEachService are the flags of serve that a [[serve]] of a configuration file may
// have, beside those that its service alone knows. The others are about the whole
// process.
var ofEachService = []string{
	"engine", "max-children", "loops", "idle", "header-timeout", "min-rate", "keepalive", "user-timeout", "backlog",
	"tls-cert", "tls-key", "proxy-from", "unix-mode", "amplify",
}

// notInFile are the flags that say what this run of the program is to do.
var notInFile = []string{"config", "check-config", "inetd", "base", "help", "help-all"}

// plans completes f from the configuration file, if there is one, and returns what is
// to be served: what args name, or what the file does. What the command line and the
// environment say goes before what the file says.
func (f *serveFlags) plans(fs *pflag.FlagSet, args []string) ([]plan, error) {
	var plans []plan
	var err error
	if f.config == "" {
		plans, err = parsePlans(args)
	} else {
		plans, err = f.configure(fs, args)
	}
	f.noteGiven(fs)
	f.byDefault = f.config == "" && len(args) == 0
	return plans, err
}

// noteGiven notes which flags have a value that is not their default.
func (f *serveFlags) noteGiven(fs *pflag.FlagSet) {
	f.idleGiven, f.userGiven = fs.Changed("idle"), fs.Changed("user")
}

func (f *serveFlags) configure(fs *pflag.FlagSet, args []string) ([]plan, error) {
	text, err := readConfig(f.config)
	if err != nil {
		return nil, err
	}
	c := &configuring{text: text, given: make(map[string]bool)}
	fs.Visit(func(flag *pflag.Flag) { c.given[flag.Name] = true })
	plans := c.apply(f, fs)
	if len(args) > 0 || len(text.tables) == 0 {
		var err error
		if plans, err = parsePlans(args); err != nil {
			return nil, err
		}
	}
	c.unserved(plans)
	if len(c.errs) > 0 {
		return nil, usageError{errors.Join(c.errs...)}
	}
	return plans, nil
}

// A configuring is a configuration file that is being obeyed.
type configuring struct {
	text  *configText
	given map[string]bool // flags that the command line and the environment have set
	errs  []error
}

func (c *configuring) fail(at place, err error) {
	c.errs = append(c.errs, &configError{c.text.path, at, err})
}

// apply sets the flags of f and returns a plan for each address of each [[serve]].
func (c *configuring) apply(f *serveFlags, fs *pflag.FlagSet) (plans []plan) {
	for _, s := range c.text.top {
		if flag := fs.Lookup(s.key); flag != nil && !slices.Contains(notInFile, s.key) {
			c.set(f, fs, s)
		} else {
			c.unknown(s, slices.DeleteFunc(flagNames(fs), func(name string) bool { return slices.Contains(notInFile, name) }))
		}
	}
	f.noteGiven(fs)
	for _, t := range c.text.tables {
		switch t.head {
		case "[[serve]]":
			plans = append(plans, c.table(f, t)...)
		case "[serve]":
			c.fail(t.at, errors.New("write [[serve]], in double brackets: there may be several"))
		default:
			c.fail(t.at, fmt.Errorf("there are no tables but [[serve]], and this is %s", t.head))
		}
	}
	return plans
}

func flagNames(fs *pflag.FlagSet) (names []string) {
	fs.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	return names
}

// set sets a flag to the value of a key, unless it was given otherwise. The value must
// be a good one even so.
func (c *configuring) set(f *serveFlags, fs *pflag.FlagSet, s setting) {
	before, flag := *f, fs.Lookup(s.key)
	err := s.assign(flag)
	if err == nil {
		err = f.check(s.key)
	}
	if err != nil {
		c.fail(s.value.at, err)
	}
	if err != nil || c.given[s.key] {
		*f = before
		return
	}
	flag.Changed = true
}

// check returns what is wrong with the value of a flag, where that can be said without
// knowing the others.
func (f *serveFlags) check(name string) (err error) {
	switch name {
	case "engine":
		err = (&serveFlags{engine: f.engine}).checkEngine()
	case "allow":
		_, err = prefixes(name, f.allow)
	case "deny":
		_, err = prefixes(name, f.deny)
	case "proxy-from":
		_, err = prefixes(name, f.proxyFrom)
	case "admin":
		_, err = adminAddress(f.admin)
	}
	return err
}

// unknown refuses a key, and names the one that may have been meant.
func (c *configuring) unknown(s setting, known []string) {
	if s.key == "serve" {
		c.fail(s.at, errors.New("write each service as a table [[serve]]"))
		return
	}
	if name := nearest(s.key, known); name != "" {
		c.fail(s.at, fmt.Errorf("there is no key %q here; did you mean %s?", s.key, name))
		return
	}
	c.fail(s.at, fmt.Errorf("there is no key %q here; there are %s", s.key, strings.Join(slices.Sorted(slices.Values(known)), ", ")))
}

// table returns the plans of a [[serve]], whose flags are f's but for what it says.
func (c *configuring) table(f *serveFlags, t configTable) (plans []plan) {
	own := &serveFlags{}
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	own.bind(fs) // which sets the defaults
	*own = *f
	row := c.service(t)
	addresses := []value{{at: t.at}}
	for _, s := range t.settings {
		switch {
		case s.key == "service":
		case s.key == "address":
			addresses = c.addresses(s)
		case slices.Contains(ofEachService, s.key) || row != nil && slices.Contains(row.flags, s.key):
			c.set(own, fs, s)
		default:
			c.misplaced(s, row, fs)
		}
	}
	own.ofTable(fs)
	if err := own.checkEngine(); err != nil {
		c.fail(t.at, err)
	}
	for _, at := range addresses {
		plans = append(plans, c.plan(row, at, own)...)
	}
	return plans
}

// ofTable completes the flags of one [[serve]]: a flag of one engine that was set for
// all does not concern the others.
func (f *serveFlags) ofTable(own *pflag.FlagSet) {
	f.idleGiven = f.idleGiven || own.Changed("idle")
	if f.engine != "process" && !own.Changed("max-children") {
		f.children = 0
	}
	if !f.mayLoop() && !own.Changed("loops") {
		f.loops = 0
	}
}

// service returns the service that a [[serve]] names, nil if there is none.
func (c *configuring) service(t configTable) *serviceRow {
	i := slices.IndexFunc(t.settings, func(s setting) bool { return s.key == "service" })
	if i < 0 {
		c.fail(t.at, fmt.Errorf("this [[serve]] names no service; write service = %q, or another of %s", services[0].name, serviceNames()))
		return nil
	}
	v := t.settings[i].value
	if v.kind != unstable.String {
		c.fail(v.at, fmt.Errorf("write service as %s", wanted["string"]))
		return nil
	}
	row := serviceNamed(v.text)
	if row == nil {
		c.fail(v.at, fmt.Errorf("there is no service %q; there are %s", escape.StringN(v.text, 80), serviceNames()))
	}
	return row
}

// addresses returns the addresses of the key address.
func (c *configuring) addresses(s setting) []value {
	list := s.values
	if s.value.kind == unstable.String {
		list = []value{s.value}
	}
	if len(list) == 0 || slices.ContainsFunc(list, func(v value) bool { return v.kind != unstable.String }) {
		c.fail(s.value.at, errors.New(`write address as a string, or as a list of strings: [":7007", "tls://:7008"]`))
		return nil
	}
	return list
}

// plan returns the plan for one address, which is the service's own if it is not given.
func (c *configuring) plan(row *serviceRow, at value, own *serveFlags) []plan {
	if row == nil {
		return nil
	}
	word := row.name
	if at.kind == unstable.String {
		word += "@" + at.text
	}
	p, err := parsePlan(word)
	if err != nil {
		c.fail(at.at, err)
		return nil
	}
	p.flags, p.located = own, func(err error) error { return &configError{c.text.path, at.at, err} }
	return []plan{p}
}

// misplaced refuses a key of a [[serve]] of which something can be said.
func (c *configuring) misplaced(s setting, row *serviceRow, fs *pflag.FlagSet) {
	if owners := ownersOf(s.key); len(owners) > 0 && row != nil {
		c.fail(s.at, fmt.Errorf("%s is a key of %s, not of %s", s.key, strings.Join(owners, ", "), row.name))
		return
	}
	if fs.Lookup(s.key) != nil && !slices.Contains(notInFile, s.key) {
		c.fail(s.at, fmt.Errorf("%s is for all services together: write it above the first [[serve]]", s.key))
		return
	}
	known := slices.Concat([]string{"service", "address"}, ofEachService)
	if row != nil {
		known = append(known, row.flags...)
	}
	c.unknown(s, known)
}

// ownersOf returns the services that alone know a flag.
func ownersOf(flag string) (names []string) {
	for _, row := range services {
		if slices.Contains(row.flags, flag) {
			names = append(names, row.name)
		}
	}
	return names
}

// unserved refuses keys above the first [[serve]] that none of the served services
// knows.
func (c *configuring) unserved(plans []plan) {
	for _, s := range c.text.top {
		owners := ownersOf(s.key)
		served := func(p plan) bool { return slices.Contains(owners, p.row.name) }
		if len(owners) > 0 && !slices.ContainsFunc(plans, served) && !c.given[s.key] {
			c.fail(s.at, fmt.Errorf("%s is a key of %s, which is not served here", s.key, strings.Join(owners, ", ")))
		}
	}
}

// wanted says how the values of each type of flag are written.
var wanted = map[string]string{
	"bool":        "true or false",
	"int":         "a whole number",
	"int64":       "a whole number",
	"uint32":      "a whole number from 0, as 0o600",
	"duration":    `a string with its unit, as "10s" or "5m"`,
	"string":      `a string, as "…"`,
	"stringArray": `a list of strings, as ["/bin/cat", "-u"]`,
	"stringSlice": `a string, or a list of strings, as ["192.0.2.0/24", "2001:db8::/32"]`,
}

// kinds are the kinds of value that the types of flags take.
var kinds = map[string]unstable.Kind{
	"bool": unstable.Bool, "int": unstable.Integer, "int64": unstable.Integer, "uint32": unstable.Integer,
	"duration": unstable.String, "string": unstable.String, "stringSlice": unstable.String, "stringArray": unstable.String,
}

// assign sets a flag to s's value.
func (s setting) assign(flag *pflag.Flag) error {
	typ := flag.Value.Type()
	bad := fmt.Errorf("write %s as %s", s.key, wanted[typ])
	list, several := flag.Value.(pflag.SliceValue)
	switch {
	case several && s.value.kind == unstable.Array:
		return s.assignAll(list, bad)
	case s.value.kind != kinds[typ]:
		return bad
	case several:
		return list.Replace([]string{s.value.text})
	}
	text := s.value.text
	if s.value.kind == unstable.Integer { // TOML's form of a number is not the flag's
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return bad
		}
		text = strconv.FormatInt(n, 10)
	}
	if flag.Value.Set(text) != nil {
		return bad
	}
	return nil
}

// assignAll sets a flag to the strings of a list.
func (s setting) assignAll(list pflag.SliceValue, bad error) error {
	texts := []string{}
	for _, v := range s.values {
		if v.kind != unstable.String {
			return bad
		}
		texts = append(texts, v.text)
	}
	return list.Replace(texts)
}
