package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"yodel/engine"
	"yodel/load"
	"yodel/sock"
)

// schema is what docs/json.md says: the fields of each type of line, by section and
// type, "call/sent" for example. The type "*" is for the fields of all of a section.
type schema map[string]map[string]bool

var backquoted = regexp.MustCompile("`([^`]+)`")

func readSchema(t *testing.T) (s schema, text string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	s = schema{}
	section, typ, header := "", "*", ""
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		switch {
		case strings.HasPrefix(line, "## "):
			section, typ = strings.TrimPrefix(line[3:], "yodel "), "*"
		case strings.HasPrefix(line, "### "):
			typ = "*"
			if m := backquoted.FindStringSubmatch(line); m != nil {
				typ = m[1]
			}
		case !strings.HasPrefix(line, "|"):
			header = ""
		case header == "":
			header = strings.TrimSpace(cells[0])
		case strings.HasPrefix(line, "|---"):
		case header == "field":
			s.add(section+"/"+typ, cells[0])
		case header == "type":
			s.add(section+"/"+backquoted.FindStringSubmatch(cells[0])[1], cells[2])
		}
	}
	return s, string(page)
}

// add adds the fields whose names are in cell.
func (s schema) add(typ, cell string) {
	if s[typ] == nil {
		s[typ] = make(map[string]bool)
	}
	for _, m := range backquoted.FindAllStringSubmatch(cell, -1) {
		s[typ][m[1]] = true
	}
}

// has reports whether a line of typ in section may have field.
func (s schema) has(section, typ, field string) bool {
	for i, b := range field {
		if b == '.' && s[section+"/"+typ][field[:i]+".*"] { // its names are data
			return true
		}
	}
	return s["/*"][field] || s[section+"/*"][field] || s[section+"/"+typ][field]
}

// check wants each field of each line to be in the schema of one of sections, and
// returns the types that came.
func (s schema) check(t *testing.T, lines string, sections ...string) map[string]bool {
	t.Helper()
	types := make(map[string]bool)
	for line := range strings.Lines(lines) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Errorf("%v: %s", err, line)
			continue
		}
		typ, _ := object["type"].(string)
		types[typ] = true
		at := slices.IndexFunc(sections, func(section string) bool { return s[section+"/"+typ] != nil })
		if at < 0 {
			t.Errorf("docs/json.md has no type %q below %q: %s", typ, sections, line)
			continue
		}
		for _, field := range fieldsOf("", object) {
			if !s.has(sections[at], typ, field) {
				t.Errorf("docs/json.md: %s: no field %q: %s", typ, field, line)
			}
		}
	}
	return types
}

// fieldsOf returns the names of all fields, those of objects inside as "port.tcp" and
// "names[].name".
func fieldsOf(prefix string, v any) []string {
	var names []string
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			name = strings.TrimPrefix(prefix+"."+name, ".")
			names = append(names, name)
			names = append(names, fieldsOf(name, value)...)
		}
	case []any:
		for _, value := range v {
			names = append(names, fieldsOf(prefix+"[]", value)...)
		}
	}
	return names
}

// What the commands print is in docs/json.md.
func TestJSONIsDocumented(t *testing.T) {
	t.Parallel()
	s, _ := readSchema(t)
	dir := t.TempDir()
	serverTrace, clientTrace := filepath.Join(dir, "server"), filepath.Join(dir, "client")
	srv := serve(t, "--names", "--each-call", "--trace="+serverTrace, "--deny=127.0.0.9",
		"upper@127.0.0.1:0", "echo@tls://127.0.0.1:0", "echo@udp://127.0.0.1:0", "echo@unix:"+filepath.Join(dir, "sock"))
	var called strings.Builder
	for _, args := range [][]string{
		{"--trace", clientTrace, "--each-call", "localhost", srv.port(0)},
		{"--insecure", srv.address(1)},
		{"--wait=50ms", srv.address(2)},
		{"--verify", srv.address(3)},
		{"--verify", srv.address(0)}, // it is upper, and so it is wrong
		{"--source=127.0.0.9", srv.address(0)},
		{"--proxy=v1", "--trace", filepath.Join(dir, "proxied"), srv.address(0)},
		{"127.0.0.1", refusedPort(t)},
		{"nosuch.invalid", "7"},
	} {
		called.WriteString(runYodel(t, "hello\n", append([]string{"call", "--json"}, args...)...).out)
	}
	want := func(section string, got map[string]bool, types ...string) {
		t.Helper()
		for _, typ := range types {
			if !got[typ] {
				t.Errorf("%s: no line of type %s came: %v", section, typ, slices.Sorted(maps.Keys(got)))
			}
		}
	}
	loads := s.check(t, loadLines(t, srv, dir), "load")
	srv.stop(t)
	want("load", loads, "progress", "report", "try", "difference", "note")
	want("serve", s.check(t, srv.out.String(), "serve", "Traces"), "listening", "accept", "refuse", "close", "note")
	want("call", s.check(t, called.String(), "call"),
		"connecting", "failed", "connected", "sent", "received", "shutdown", "eof", "closed", "verified")
	want("name", s.check(t, runYodel(t, "", "name", "--json", "localhost", "::1", "domain").out, "name"), "name")
	want("server", s.check(t, readFile(t, serverTrace), "Traces"), "trace", "socket", "bind", "listen", "accept",
		"handshake", "read", "write", "message", "eof", "refuse", "close", "note")
	want("proxied", s.check(t, readFile(t, filepath.Join(dir, "proxied")), "Traces"), "note")
	want("check-config", s.check(t, runYodel(t, "", "serve", "--check-config", "--json", "echo@tls://:7", "echo@unix:/x").out, "serve"), "would-listen")
	want("client", s.check(t, readFile(t, clientTrace), "Traces"), "trace", "resolve", "socket", "connect",
		"read", "write", "shutdown", "eof", "close")
}

// loadLines are those of several commands: what is right, what is wrong, what is refused,
// a search, a comparison.
func loadLines(t *testing.T, srv *running, dir string) string {
	t.Helper()
	var lines strings.Builder
	for _, args := range [][]string{
		{srv.address(3), srv.address(0), "--upper", "--conns=3", "--count=30"},
		{srv.address(3), "--rate=500", "--duration=1200ms"},
		{srv.address(1), "--insecure", "--count=20"},
		{srv.address(2), "--count=20"},
		{"127.0.0.1:" + refusedPort(t)},
		{srv.address(3), "--search=errors<1", "--rate=100", "--duration=100ms"},
	} {
		lines.WriteString(runYodel(t, "", append([]string{"load", "--json"}, args...)...).out)
	}
	report, other := filepath.Join(dir, "report"), filepath.Join(dir, "other")
	said := runYodel(t, "", "load", "--json", srv.address(3), "--count=2000").out
	for path, text := range map[string]string{report: said, other: strings.ReplaceAll(said, `"size":64`, `"size":32`)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lines.WriteString(runYodel(t, "", "load", "compare", "--json", report, other).out)
	return lines.String()
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// What is in the code, and comes seldom, is in docs/json.md too, and nothing else is.
func TestJSONDocumentIsComplete(t *testing.T) {
	t.Parallel()
	s, text := readSchema(t)
	same := func(what string, documented, real []string) {
		t.Helper()
		slices.Sort(documented)
		slices.Sort(real)
		if documented, real = slices.Compact(documented), slices.Compact(real); !slices.Equal(documented, real) {
			t.Errorf("docs/json.md: %s: has %q, want %q", what, documented, real)
		}
	}
	same("listening", fieldNames(s, "serve/listening"), tags(reflect.TypeFor[listening](), ""))
	same("user and try", slices.Concat(fieldNames(s, "serve/user"), fieldNames(s, "serve/try")), tags(reflect.TypeFor[labLine](), ""))
	same("mailbox", fieldNames(s, "mail/mailbox"), structTags(t, "../../service/mail/read.go", "boxLine"))
	same("message", fieldNames(s, "mail/message"), structTags(t, "../../service/mail/read.go", "messageLine"))
	same("engine", fieldNames(s, "engines/engine"), tags(reflect.TypeFor[engineLine](), ""))
	same("name", fieldNames(s, "name/name"), tags(reflect.TypeFor[answer](), ""))
	same("report", withoutData(fieldNames(s, "load/report")), withoutData(tags(reflect.TypeFor[load.Document](), "")))
	same("progress", withoutData(fieldNames(s, "load/progress")), withoutData(tags(reflect.TypeFor[progressJSON](), "")))
	same("try", fieldNames(s, "load/try"), tags(reflect.TypeFor[tryJSON](), ""))
	same("difference", fieldNames(s, "load/difference"), tags(reflect.TypeFor[differenceJSON](), ""))
	same("note", fieldNames(s, "load/note"), tags(reflect.TypeFor[noteJSON](), ""))
	for _, class := range constants(t, "../../load/fault.go", "Class") {
		if !strings.Contains(text, "\n| `"+class+"` | ") {
			t.Errorf("docs/json.md does not tell of the class of errors %s", class)
		}
	}
	same("types of traces", typesOf(s, "Traces"), constants(t, "../../trace/trace.go", "Op"))
	same("types of call", typesOf(s, "call"), constants(t, "../../call/event.go", "EventType"))
	var ofCall []string
	for typ := range s {
		if strings.HasPrefix(typ, "call/") {
			ofCall = append(ofCall, fieldNames(s, typ)...)
		}
	}
	same("fields of call", ofCall, structTags(t, "../../call/view_json.go", "jsonLine"))
	for r := engine.Reason(1); !strings.HasPrefix(r.String(), "reason("); r++ {
		if !strings.Contains(text, "\n| `"+r.String()+"` | ") {
			t.Errorf("docs/json.md does not tell why a connection may end: %s", r)
		}
	}
}

// withoutData leaves out what stands for names that are data.
func withoutData(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, ".*") })
}

// fieldNames returns the fields of a type, type and time included.
func fieldNames(s schema, typ string) []string {
	return slices.Concat(slices.Collect(maps.Keys(s[typ])), slices.Collect(maps.Keys(s["/*"])))
}

// wantFields wants the lines of a command to have the fields in s that these structs of the
// package of its name have in JSON.
func wantFields(t *testing.T, s schema, command string, structs ...string) {
	t.Helper()
	var documented, real []string
	for typ := range s {
		if strings.HasPrefix(typ, command+"/") {
			for _, name := range fieldNames(s, typ) {
				documented = append(documented, name[strings.LastIndexByte(name, '.')+1:])
			}
		}
	}
	for _, name := range structs {
		real = append(real, structTags(t, "../../"+command+"/json.go", name)...)
	}
	slices.Sort(documented)
	slices.Sort(real)
	if documented, real = slices.Compact(documented), slices.Compact(real); !slices.Equal(documented, real) {
		t.Errorf("docs/json.md has the fields\n%q, and there are\n%q", documented, real)
	}
}

func typesOf(s schema, section string) []string {
	var types []string
	for key := range s {
		if in, typ, _ := strings.Cut(key, "/"); in == section && typ != "*" {
			types = append(types, typ)
		}
	}
	return types
}

// tags returns the JSON names of a struct's fields, as fieldsOf has them.
func tags(typ reflect.Type, prefix string) []string {
	var names []string
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, prefix+name)
		inner, dots := f.Type, "."
		if inner.Kind() == reflect.Slice {
			dots = "[]."
		}
		if inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			names = append(names, tags(inner, prefix+name+dots)...)
		}
	}
	return names
}

// inspect calls visit for each node of a Go file.
func inspect(t *testing.T, path string, visit func(ast.Node)) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		visit(n)
		return true
	})
}

// constants returns the values of the string constants of a type.
func constants(t *testing.T, path, typ string) []string {
	t.Helper()
	var values []string
	inspect(t, path, func(n ast.Node) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || fmt.Sprint(spec.Type) != typ || len(spec.Values) != 1 {
			return
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	})
	return values
}

// structTags returns the JSON names of the fields of a struct in a Go file.
func structTags(t *testing.T, path, name string) []string {
	t.Helper()
	var names []string
	inspect(t, path, func(n ast.Node) {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != name {
			return
		}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			tag, _ := strconv.Unquote(f.Tag.Value)
			name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			names = append(names, name)
		}
	})
	return names
}

// shownCommand finds a command line of ours: at a line's start, behind a prompt or a
// pipe, or in backquotes.
var shownCommand = regexp.MustCompile("(?m)(?:^ {4,}|^\t|[$|] |try: |`)(?:yodel|go run ./cmd/yodel)((?: [^ |`>&#\n]+)*)(?: *[|`>&#]| {2,}|$)")

// Each command line that a document shows is one.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	shown := map[string]int{}
	for _, file := range files {
		text := strings.ReplaceAll(readFile(t, file), " 2>", " >")
		for _, m := range shownCommand.FindAllStringSubmatch(text, -1) {
			shown[filepath.Base(file)]++
			checkCommandLine(t, filepath.Base(file), strings.Fields(m[1]))
		}
	}
	if shown["README.md"] < 5 {
		t.Errorf("command lines found: %v", shown)
	}
	root := newRoot(std{})
	examples := welcome
	for _, c := range root.Commands() {
		examples += c.Example + "\n"
	}
	for line := range strings.Lines(examples) {
		if _, command, ok := strings.Cut(line, "yodel "); ok && !strings.Contains(line, "yodel: ") {
			command, _, _ = strings.Cut(command, "   ") // what follows explains it
			checkCommandLine(t, "help", strings.Fields(command))
		}
	}
}

var placeholder = regexp.MustCompile(`^\[?-*[A-Z][A-Z|\]@[.…]+$|…`)

// checkCommandLine parses a command line, but for the values that stand for others.
func checkCommandLine(t *testing.T, where string, words []string) {
	t.Helper()
	fail := func(err error) {
		t.Helper()
		t.Errorf("%s shows: yodel %s: %v", where, strings.Join(words, " "), err)
	}
	root := newRoot(std{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	if len(words) > 0 && placeholder.MatchString(words[0]) {
		return // COMMAND
	}
	cmd, rest, err := root.Find(words)
	if err != nil || cmd == root && len(words) > 0 && !strings.HasPrefix(words[0], "-") {
		fail(fmt.Errorf("no such command (%v)", err))
		return
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		fail(err)
		return
	}
	args := cmd.Flags().Args()
	if len(args) == 0 || slices.ContainsFunc(args, placeholder.MatchString) {
		return
	}
	switch cmd.Name() {
	case "serve":
		if at := cmd.Flags().ArgsLenAtDash(); at >= 0 {
			args = args[:at] // the program of command
		}
		if !slices.Equal(args, []string{labName}) {
			_, err = parsePlans(args)
		}
	case "call":
		_, err = sock.ParseAddress(args...)
	default:
		err = cmd.ValidateArgs(args)
	}
	if err != nil {
		fail(err)
	}
}
