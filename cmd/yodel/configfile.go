package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"yodel/internal/escape"
)

// maxConfig is how many bytes of a configuration file are read: a longer one is a
// mistake, /dev/zero for example.
const maxConfig = 1 << 20

// A place is where something stands in a configuration file, from 1. Columns are bytes.
type place struct{ line, column int }

// A configError is a mistake in a configuration file.
type configError struct {
	path string
	at   place
	err  error
}

// Error returns for example "serve.toml:3:1: there is no key …".
func (e *configError) Error() string {
	text := strings.TrimPrefix(e.err.Error(), "--") // what flags say of their values holds for keys too
	return fmt.Sprintf("%s:%d:%d: %s", escape.String(e.path), e.at.line, e.at.column, text)
}

func (e *configError) Unwrap() error { return e.err }

// A configText is what a configuration file says, of which nothing has been believed
// yet but that it is TOML.
type configText struct {
	path   string
	top    []setting     // before the first table
	tables []configTable // in their order
}

// A configTable is a table, with what is in it.
type configTable struct {
	at       place
	head     string // "[[serve]]"
	settings []setting
}

// A setting is a key with its value.
type setting struct {
	key    string
	at     place
	value  value
	values []value // of an array
}

// A value is one that is no table.
type value struct {
	at   place
	kind unstable.Kind
	text string // of a string, a number, true and false
}

// readConfig reads a configuration file.
func readConfig(path string) (*configText, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("--config: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	switch {
	case err != nil:
		return nil, usagef("--config: %w", err)
	case len(text) > maxConfig:
		return nil, usagef("--config: %s has more than %d bytes", escape.String(path), maxConfig)
	}
	c, err := parseConfig(path, text)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// parseConfig finds the settings of text and where they stand. The error is of text that
// is no TOML.
func parseConfig(path string, text []byte) (*configText, error) {
	var all map[string]any
	if err := toml.Unmarshal(text, &all); err != nil { // what is said twice, too, is not TOML
		return nil, tomlError(path, err)
	}
	r := &configReader{text: &configText{path: path}}
	r.parser.Reset(text)
	for r.parser.NextExpression() {
		r.expression(r.parser.Expression())
	}
	return r.text, r.parser.Error()
}

func tomlError(path string, err error) error {
	var at place
	if decode, ok := errors.AsType[*toml.DecodeError](err); ok {
		at.line, at.column = decode.Position()
	}
	return &configError{path, at, errors.New(escape.String(strings.TrimPrefix(err.Error(), "toml: ")))}
}

// A configReader collects the settings of text that is TOML.
type configReader struct {
	parser unstable.Parser
	text   *configText
}

// expression takes a key with its value, or the head of a table.
func (r *configReader) expression(n *unstable.Node) {
	key, at := r.key(n.Key())
	switch n.Kind {
	case unstable.KeyValue:
		settings := r.settings()
		*settings = append(*settings, r.setting(key, at, n.Value()))
	case unstable.Table:
		r.text.tables = append(r.text.tables, configTable{at: at, head: "[" + key + "]"})
	case unstable.ArrayTable:
		r.text.tables = append(r.text.tables, configTable{at: at, head: "[[" + key + "]]"})
	}
}

// settings returns where the settings belong that come now.
func (r *configReader) settings() *[]setting {
	if n := len(r.text.tables); n > 0 {
		return &r.text.tables[n-1].settings
	}
	return &r.text.top
}

// key returns a key as it is shown, its parts joined by dots, and where it stands.
func (r *configReader) key(parts unstable.Iterator) (string, place) {
	var words []string
	var at place
	for parts.Next() {
		if words == nil {
			at = r.place(parts.Node().Raw)
		}
		words = append(words, escape.StringN(string(parts.Node().Data), 80))
	}
	return strings.Join(words, "."), at
}

func (r *configReader) setting(key string, at place, n *unstable.Node) setting {
	s := setting{key: key, at: at, value: r.value(n, at)}
	if n.Kind != unstable.Array {
		return s
	}
	s.values = []value{}
	for elements := n.Children(); elements.Next(); {
		s.values = append(s.values, r.value(elements.Node(), s.value.at))
	}
	return s
}

// value returns a value. One that says not where it stands is at the place of what it
// belongs to.
func (r *configReader) value(n *unstable.Node, of place) value {
	v := value{at: of, kind: n.Kind, text: string(n.Data)}
	if n.Raw.Length > 0 {
		v.at = r.place(n.Raw)
	}
	return v
}

func (r *configReader) place(raw unstable.Range) place {
	p := r.parser.Shape(raw).Start
	return place{p.Line, p.Column}
}
