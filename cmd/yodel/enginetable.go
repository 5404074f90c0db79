package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"yodel"
	"yodel/engine"
	"yodel/internal/escape"
	"yodel/sock"
)

func newEngines(io std) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "engines",
		Short: "Which engine serves what on this machine",
		Long: `Which engine serves which service over which transport on this machine, and what is
missing for the rest. Nothing is assumed: each engine is made as serve would make it.`,
		Example: `  yodel engines
  yodel serve --engine process echo`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			t, err := engines.table()
			if err != nil {
				return err
			}
			if asJSON {
				return t.printJSON(io.out)
			}
			return t.print(io.out, engines)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	return cmd
}

// The transports of connections; datagrams have one loop, whatever the engine.
var transports = []string{"tcp", "tls", "unix"}

// engineLine is one row of the table: an engine, a service, a transport.
type engineLine struct {
	Type      string `json:"type"`
	Time      string `json:"time"`
	Engine    string `json:"engine"`
	Service   string `json:"service"`
	Transport string `json:"transport"`
	Works     bool   `json:"works"`
	Proxy     bool   `json:"proxy,omitempty"`
	Auto      bool   `json:"auto,omitempty"`
	Missing   string `json:"missing,omitempty"`
}

// engineTable is what each engine serves on this machine.
type engineTable []engineLine

// table tries each engine with each service over each transport.
func (rows engineRows) table() (engineTable, error) {
	cert, err := newCertificate("", "")
	if err != nil {
		return nil, err
	}
	f := &serveFlags{}
	f.bind(pflag.NewFlagSet("", pflag.ContinueOnError)) // the defaults
	var t engineTable
	for i := range rows {
		for j := range services {
			for _, transport := range transports {
				p := plan{row: &services[j], addr: sock.Address{Network: transport}}
				t = append(t, rows.try(i, p, f, cert))
			}
		}
	}
	for j := range services {
		t = append(t, tryDatagrams(&services[j], f))
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for i := range t {
		t[i].Type, t[i].Time = "engine", now
	}
	return t, nil
}

func tryDatagrams(row *serviceRow, f *serveFlags) engineLine {
	_, ok := row.make(f).(yodel.Replier)
	l := engineLine{Engine: datagrams, Service: row.name, Transport: "udp", Works: ok, Auto: ok}
	if !ok {
		l.Missing = "no datagram form"
	}
	return l
}

// try returns what comes of p on an engine.
func (rows engineRows) try(i int, p plan, f *serveFlags, cert *certificate) engineLine {
	row := &rows[i]
	l := engineLine{Engine: row.name, Service: p.row.name, Transport: p.addr.Network}
	cfg := &engine.Config{Service: p.row.name}
	if l.Transport == "tls" {
		cfg.TLS = cert.config()
	}
	eng, err := row.tryMake(p, f, cfg)
	if err != nil {
		l.Missing = escape.String(whyNot(err))
		return l
	}
	eng.Close()
	l.Works, l.Auto = true, rows.able(p, f, cfg)[0] == row.name
	cfg.ProxyFrom = []netip.Prefix{}
	l.Proxy = row.can(p, f, cfg)
	return l
}

func (t engineTable) printJSON(w io.Writer) error {
	to := json.NewEncoder(w)
	for _, l := range t {
		if err := to.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// print prints a row for each engine, of rows, and the services that go alike on it.
func (t engineTable) print(w io.Writer, rows engineRows) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	columns := append(slices.Clip(transports), "udp")
	fmt.Fprintf(tab, "engine\tservice\t%s\tPROXY\n", strings.Join(columns, "\t"))
	for _, of := range t.byEngine() {
		name := of[0].Engine
		for _, alike := range of.bySameCells(columns) {
			fmt.Fprintf(tab, "%s\t%s\t%s\n", name, strings.Join(alike.services, " "), alike.cells)
			name = ""
		}
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	fmt.Fprint(w, "\n*: what --engine auto takes. PROXY: also with --proxy-from.\n\n")
	for _, e := range rows {
		fmt.Fprintf(w, "%s: %s\n", e.name, e.about)
	}
	fmt.Fprintf(w, "%s: one loop for each socket, whatever --engine says\n", datagrams)
	t.printMissing(w)
	return nil
}

// byEngine returns the rows of each engine.
func (t engineTable) byEngine() []engineTable {
	var all []engineTable
	for len(t) > 0 {
		n := slices.IndexFunc(t, func(l engineLine) bool { return l.Engine != t[0].Engine })
		if n < 0 {
			n = len(t)
		}
		all, t = append(all, t[:n]), t[n:]
	}
	return all
}

// alike are services with the same cells.
type alike struct {
	services []string
	cells    string
}

func (t engineTable) bySameCells(columns []string) []*alike {
	var all []*alike
	for _, s := range services {
		cells := t.of(s.name).cells(columns)
		i := slices.IndexFunc(all, func(a *alike) bool { return a.cells == cells })
		if i < 0 {
			i, all = len(all), append(all, &alike{cells: cells})
		}
		all[i].services = append(all[i].services, s.name)
	}
	return all
}

// of returns the rows of a service.
func (t engineTable) of(service string) engineTable {
	return slices.DeleteFunc(slices.Clone(t), func(l engineLine) bool { return l.Service != service })
}

// cells returns the cells of one service on one engine.
func (t engineTable) cells(columns []string) string {
	var cells []string
	for _, transport := range columns {
		i := slices.IndexFunc(t, func(l engineLine) bool { return l.Transport == transport })
		if i < 0 {
			cells = append(cells, "-")
		} else {
			cells = append(cells, t[i].cell())
		}
	}
	proxy := "no"
	if slices.ContainsFunc(t, func(l engineLine) bool { return l.Proxy }) {
		proxy = "yes"
	}
	return strings.Join(append(cells, proxy), "\t")
}

func (l engineLine) cell() string {
	switch {
	case l.Auto:
		return "yes*"
	case l.Works:
		return "yes"
	}
	return "no"
}

// printMissing says why a cell is "no": once for all cells of an engine with the same reason.
func (t engineTable) printMissing(w io.Writer) {
	var lines []string
	for _, of := range t.byEngine() {
		for _, group := range of.byReason() {
			lines = append(lines, group.whyNot(of)...)
		}
	}
	if lines != nil {
		fmt.Fprintf(w, "\nWhat is missing:\n  %s\n", strings.Join(lines, "\n  "))
	}
}

// byReason returns the rows that do not work, those with the same reason together.
func (t engineTable) byReason() []engineTable {
	var all []engineTable
	for _, l := range t {
		if l.Works {
			continue
		}
		i := slices.IndexFunc(all, func(group engineTable) bool { return group[0].Missing == l.Missing })
		if i < 0 {
			i, all = len(all), append(all, nil)
		}
		all[i] = append(all[i], l)
	}
	return all
}

// whyNot says what the rows of t have in common, which are rows of an engine, and why they do
// not work.
func (t engineTable) whyNot(of engineTable) []string {
	services, transports := t.services(), t.transports()
	name, why := t[0].Engine, t[0].Missing
	switch {
	case len(t) == len(of):
		return []string{fmt.Sprintf("%s: %s", name, why)}
	case len(t) == of.count(func(l engineLine) bool { return slices.Contains(transports, l.Transport) }):
		return []string{fmt.Sprintf("%s over %s: %s", name, strings.Join(transports, ", "), why)}
	case len(t) == of.count(func(l engineLine) bool { return slices.Contains(services, l.Service) }):
		return []string{fmt.Sprintf("%s, %s: %s", name, strings.Join(services, " "), why)}
	case len(t) == len(services)*len(transports):
		return []string{fmt.Sprintf("%s, %s over %s: %s", name, strings.Join(services, " "), strings.Join(transports, ", "), why)}
	}
	var lines []string
	for _, transport := range transports {
		over := slices.DeleteFunc(slices.Clone(t), func(l engineLine) bool { return l.Transport != transport })
		lines = append(lines, fmt.Sprintf("%s, %s over %s: %s", name, strings.Join(over.services(), " "), transport, why))
	}
	return lines
}

func (t engineTable) services() []string {
	return t.different(func(l engineLine) string { return l.Service })
}

func (t engineTable) transports() []string {
	return t.different(func(l engineLine) string { return l.Transport })
}

// different returns the values of the rows, each once.
func (t engineTable) different(of func(engineLine) string) (all []string) {
	for _, l := range t {
		if value := of(l); !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	return all
}

func (t engineTable) count(is func(engineLine) bool) (n int) {
	for _, l := range t {
		if is(l) {
			n++
		}
	}
	return n
}
