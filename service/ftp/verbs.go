package ftp

import (
	"maps"
	"slices"
	"strings"
)

// An argRule says whether a command has an argument.
type argRule uint8

const (
	mayArg argRule = iota
	needArg
	noArg
)

// A verb is a command: when it may be said, and what it does.
type verb struct {
	name   string
	when   state
	arg    argRule
	writes bool // it changes files
	usage  string
	do     func(s *session, arg string) reply // nil: not offered
}

// allows returns why the command can't be said now, and the zero reply if it can.
func (v *verb) allows(s *session, arg string) reply {
	switch {
	case v.do == nil:
		return sayf(502, "%s is not offered.", v.name)
	case v.when&s.state == 0 && v.name == "PASS":
		return say(503, "Say USER first.")
	case v.when&s.state == 0 && s.state == member:
		return say(503, "You are logged in already.")
	case v.when&s.state == 0:
		return say(530, "Log in with USER and PASS first.")
	case v.arg == needArg && arg == "", v.arg == noArg && arg != "":
		return sayf(501, "It is %s.", v.usage)
	case v.writes && !s.files.write:
		return say(550, "Nothing may be changed here.")
	}
	return reply{}
}

// verbs returns the table of commands, by name.
func verbs() map[string]*verb {
	table := make(map[string]*verb)
	for _, list := range [][]verb{accessVerbs(), settingVerbs(), dataVerbs(), fileVerbs(), otherVerbs()} {
		for _, v := range list {
			table[v.name] = &v
		}
	}
	for old, name := range oldNames {
		table[old] = table[name]
	}
	for _, name := range notOffered {
		table[name] = &verb{name: name, when: anyone}
	}
	return table
}

// oldNames are those of RFC 775, which clients still try (RFC 1123 §4.1.3.1).
var oldNames = map[string]string{"XCWD": "CWD", "XCUP": "CDUP", "XPWD": "PWD", "XMKD": "MKD", "XRMD": "RMD"}

// notOffered are commands of RFCs 959, 1639, 2228 and 7151 that are known and not there.
var notOffered = []string{"SMNT", "REIN", "LPRT", "LPSV", "ADAT", "CCC", "CONF", "ENC", "MIC", "HOST", "LANG"}

func accessVerbs() []verb {
	return []verb{
		{"USER", stranger | named, needArg, false, "USER name", (*session).userVerb},
		{"PASS", named, mayArg, false, "PASS password", (*session).passVerb},
		{"ACCT", anyone, mayArg, false, "ACCT account", func(*session, string) reply { return say(202, "There are no accounts.") }},
		{"AUTH", anyone, needArg, false, "AUTH TLS", (*session).authVerb},
		{"PBSZ", anyone, needArg, false, "PBSZ 0", (*session).pbszVerb},
		{"PROT", anyone, needArg, false, "PROT C or PROT P", (*session).protVerb},
		{"QUIT", anyone, noArg, false, "QUIT", (*session).quitVerb},
	}
}

func settingVerbs() []verb {
	return []verb{
		{"TYPE", member, needArg, false, "TYPE A or TYPE I", (*session).typeVerb},
		{"STRU", member, needArg, false, "STRU F", onlyOne("F", "files")},
		{"MODE", member, needArg, false, "MODE S", onlyOne("S", "streams")},
		{"OPTS", anyone, needArg, false, "OPTS command options", (*session).optsVerb},
		{"REST", member, needArg, false, "REST offset", (*session).restVerb},
		{"ALLO", member, needArg, false, "ALLO bytes", func(*session, string) reply { return say(202, "There is no need to.") }},
	}
}

func dataVerbs() []verb {
	return []verb{
		{"PORT", member, needArg, false, "PORT h1,h2,h3,h4,p1,p2", (*session).portVerb},
		{"EPRT", member, needArg, false, "EPRT |version|address|port|", (*session).eprtVerb},
		{"PASV", member, noArg, false, "PASV", (*session).pasvVerb},
		{"EPSV", member, mayArg, false, "EPSV, EPSV 1, EPSV 2 or EPSV ALL", (*session).epsvVerb},
		{"RETR", member, needArg, false, "RETR path", (*session).retrVerb},
		{"STOR", member, needArg, true, "STOR path", (*session).storVerb},
		{"APPE", member, needArg, true, "APPE path", (*session).appeVerb},
		{"STOU", member, mayArg, true, "STOU", (*session).stouVerb},
		{"LIST", member, mayArg, false, "LIST path", (*session).listVerb},
		{"NLST", member, mayArg, false, "NLST path", (*session).nlstVerb},
		{"MLSD", member, mayArg, false, "MLSD path", (*session).mlsdVerb},
		{"ABOR", anyone, noArg, false, "ABOR", (*session).aborVerb},
	}
}

func fileVerbs() []verb {
	return []verb{
		{"CWD", member, needArg, false, "CWD path", (*session).cwdVerb},
		{"CDUP", member, noArg, false, "CDUP", func(s *session, _ string) reply { return s.cwdVerb("..") }},
		{"PWD", member, noArg, false, "PWD", (*session).pwdVerb},
		{"MKD", member, needArg, true, "MKD path", (*session).mkdVerb},
		{"RMD", member, needArg, true, "RMD path", (*session).rmdVerb},
		{"DELE", member, needArg, true, "DELE path", (*session).deleVerb},
		{"RNFR", member, needArg, true, "RNFR path", (*session).rnfrVerb},
		{"RNTO", member, needArg, true, "RNTO path", (*session).rntoVerb},
		{"SIZE", member, needArg, false, "SIZE path", (*session).sizeVerb},
		{"MDTM", member, needArg, false, "MDTM path", (*session).mdtmVerb},
		{"MFMT", member, needArg, true, "MFMT YYYYMMDDhhmmss path", (*session).mfmtVerb},
		{"MLST", member, mayArg, false, "MLST path", (*session).mlstVerb},
	}
}

func otherVerbs() []verb {
	return []verb{
		{"SYST", anyone, noArg, false, "SYST", func(*session, string) reply { return say(215, "UNIX Type: L8") }},
		{"NOOP", anyone, mayArg, false, "NOOP", func(*session, string) reply { return say(200, "OK.") }},
		{"FEAT", anyone, noArg, false, "FEAT", (*session).featVerb},
		{"HELP", anyone, mayArg, false, "HELP command", (*session).helpVerb},
		{"STAT", anyone, mayArg, false, "STAT path", (*session).statVerb},
		{"SITE", member, needArg, false, "SITE HELP", (*session).siteVerb},
	}
}

// onlyOne is a command that has only one value to set.
func onlyOne(value, name string) func(*session, string) reply {
	return func(_ *session, arg string) reply {
		if strings.EqualFold(arg, value) {
			return say(200, "OK.")
		}
		return sayf(504, "Only %s (%s) are there.", name, value)
	}
}

func (s *session) quitVerb(string) reply {
	s.over = true
	return say(221, "Goodbye.")
}

// typeVerb: RFC 959 §3.1.1, RFC 1123 §4.1.2.13.
func (s *session) typeVerb(arg string) reply {
	switch strings.ToUpper(arg) {
	case "A", "A N":
		s.isText = true
		return say(200, "Type A: lines of text.")
	case "I", "L 8":
		s.isText = false
		return say(200, "Type I: bytes as they are.")
	}
	return say(504, "Only types A and I are there.")
}

// features are what FEAT says (RFC 2389), as far as it does not depend on anything.
var features = []string{
	"EPRT", "EPSV", "MDTM", "MFMT", "REST STREAM", "SIZE", "TVFS", "UTF8",
}

func (s *session) featVerb(string) reply {
	list := append([]string{"MLST " + s.facts.features()}, features...)
	if s.cfg.TLS != nil {
		list = append(list, "AUTH TLS", "PBSZ", "PROT")
	}
	slices.Sort(list)
	return reply{code: 211, text: "There are", more: list, end: "End."}
}

func (s *session) optsVerb(arg string) reply {
	name, options, _ := strings.Cut(arg, " ")
	switch strings.ToUpper(name) {
	case "UTF8", "UTF-8":
		if options == "" || strings.EqualFold(options, "ON") {
			return say(200, "Names are UTF-8.")
		}
		return say(501, "Names are always UTF-8.")
	case "MLST":
		s.facts = parseFacts(options)
		return sayf(200, "MLST OPTS %s", s.facts.names())
	}
	return say(501, "There is no such option.")
}

func (s *session) helpVerb(arg string) reply {
	if v := s.srv.verbs[strings.ToUpper(arg)]; v != nil && v.do != nil {
		return sayf(214, "It is %s.", v.usage)
	}
	if arg != "" {
		return say(502, "There is no such command.")
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.srv.verbs)) {
		if s.srv.verbs[name].do != nil {
			names = append(names, name)
		}
	}
	var lines []string
	for some := range slices.Chunk(names, 10) {
		lines = append(lines, strings.Join(some, " "))
	}
	return reply{code: 214, text: "The commands are", more: lines, end: "HELP and one of them says more."}
}

func (s *session) siteVerb(arg string) reply {
	name, _, _ := strings.Cut(arg, " ")
	switch strings.ToUpper(name) {
	case "HELP":
		return say(214, "There is nothing but SITE HELP.")
	case "CHMOD":
		return say(502, "SITE CHMOD is off: who may read a file is for the server's owner to say.")
	}
	return say(502, "There is nothing but SITE HELP.")
}

// status is what STAT says of the server (RFC 959 §4.1.3).
func (s *session) status() reply {
	lines := []string{"Connected from " + s.peerText()}
	switch s.state {
	case member:
		lines = append(lines, "Logged in as "+s.user)
	default:
		lines = append(lines, "Not logged in")
	}
	lines = append(lines, "Type "+typeNames[s.isText]+", structure file, mode stream, "+s.protection())
	if s.job != nil {
		lines = append(lines, s.job.String())
	}
	return reply{code: 211, text: "yodel FTP", more: lines, end: "End."}
}

var typeNames = map[bool]string{true: "A", false: "I"}

func (s *session) peerText() string {
	if s.peer.IsValid() {
		return s.peer.String()
	}
	return "this host"
}

func (s *session) protection() string {
	switch {
	case !s.ctl.isTLS():
		return "in plain text"
	case s.isPrivate:
		return "TLS for commands and data"
	}
	return "TLS for commands, data in plain text"
}
