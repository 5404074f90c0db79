package main

import (
	"fmt"
	"io"
	"slices"
)

// mostInFlight bounds the bytes in flight: a turn ends when all have come back.
const mostInFlight = 128 << 20

// loads returns the scenarios of a table.
func (set *settings) loads() (list []load) {
	for _, conns := range set.conns {
		for _, size := range set.sizes {
			for _, depth := range set.depths {
				if l := (load{conns, size, depth}); l.inFlight() <= mostInFlight {
					list = append(list, l)
				}
			}
		}
	}
	if set.bulk {
		list = append(list, load{conns: 16, size: 256 << 10, depth: 1})
	}
	return list
}

// table measures all contestants under all loads.
func (s *stage) table(set *settings, out io.Writer) error {
	list, err := chosen(set.only)
	if err != nil {
		return err
	}
	for _, l := range set.loads() {
		compare := func(c contestant) (*result, error) { return s.compare(set, l, list[0], c) }
		if err := section(out, l, tableHead, list[1:], compare); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\n%s", tableNotes)
	return nil
}

// section prints a table of its own: the reference and each contestant.
func section(out io.Writer, title fmt.Stringer, head string, list []contestant, compare func(contestant) (*result, error)) error {
	fmt.Fprintf(out, "\n%s\n\n%s", title, head)
	for i, c := range list {
		r, err := compare(c)
		if err != nil {
			return fmt.Errorf("%s: %w", title, err)
		}
		if i == 0 {
			fmt.Fprint(out, r.reference())
		}
		fmt.Fprint(out, r.row())
	}
	return nil
}

// compare lets a contestant and the reference take turns.
func (s *stage) compare(set *settings, l load, reference, c contestant) (*result, error) {
	servers, stop, err := s.servePair(reference, c)
	if err != nil {
		return nil, err
	}
	defer stop()
	var clients [2]*client
	for i, v := range servers {
		if clients[i], err = s.dial(v, l, set.turn); err != nil {
			return nil, err
		}
		defer clients[i].stop()
	}
	return takeTurns(set.rounds, servers, func(i int) (turn, error) { return clients[i].talk() })
}

// servePair starts the reference (0) and a contestant (1).
func (s *stage) servePair(reference, c contestant) (servers [2]*server, stop func(), err error) {
	if servers[0], err = s.serve(reference); err != nil {
		return servers, nil, err
	}
	if servers[1], err = s.serve(c); err != nil {
		servers[0].stop()
		return servers, nil, err
	}
	return servers, func() {
		servers[1].stop()
		servers[0].stop()
	}, nil
}

// takeTurns has the reference (0) and a contestant (1) talk in turns.
func takeTurns(rounds int, servers [2]*server, talk func(i int) (turn, error)) (*result, error) {
	r := &result{names: [2]string{servers[0].name, servers[1].name}}
	for round := -1; round < rounds; round++ {
		for i, v := range servers {
			t, err := talk(i)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
			if round >= 0 { // buffers grow and caches warm before
				r.turns[i] = append(r.turns[i], t)
			}
		}
	}
	for i, v := range servers {
		var err error
		if r.resident[i], err = v.resident(); err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return r, nil
}

// A result is what came of the turns of the reference (0) and a contestant (1).
type result struct {
	names    [2]string
	turns    [2][]turn
	resident [2]int
}

const tableHead = `| server | CPU µs an echo | efficiency | machine µs | echoes/s | p50 µs | p99 µs | p99.9 µs | resident MiB | |
|---|---|---|---|---|---|---|---|---|---|
`

const tableNotes = `Efficiency is the reference's processor time for an echo divided by the server's, turn by turn: the median and, in
brackets, the quartiles. Machine: what all processors were busy for an echo, server, client, kernel and
whatever else ran, by /proc/stat. The other columns are medians; ×n is the median of the ratios to the reference. "client": the
client was busy for more than 95 % of the time, so the rate is its own. "busy": in half of the turns the two waited for
a processor for more than 5 % of the time, because others were at work.
`

func (r *result) reference() string {
	return r.line(0, "1.00", func(func(turn) float64) string { return "" })
}

func (r *result) row() string {
	e := r.ratios(func(t turn) float64 { return 1 / t.cost() })
	efficiency := "none used"
	if median(each(r.turns[1], turn.cost)) > 0 {
		efficiency = fmt.Sprintf("**%.2f** (%.2f–%.2f)", median(e), quantile(e, 0.25), quantile(e, 0.75))
	}
	return r.line(1, efficiency, func(of func(turn) float64) string {
		return fmt.Sprintf(" ×%.2f", median(r.ratios(of)))
	})
}

func (r *result) line(i int, efficiency string, ratio func(func(turn) float64) string) string {
	cell := func(format string, of func(turn) float64) string {
		return fmt.Sprintf(format, median(each(r.turns[i], of))) + ratio(of)
	}
	machine := ""
	if r.turns[i][0].Machine > 0 {
		machine = " " + cell("%.1f", turn.all) + " |"
	}
	return fmt.Sprintf("| %s | %s | %s |%s %s | %s | %s | %s | %s | %s |\n", r.names[i],
		cell("%.2f", turn.cost), efficiency, machine, cell("%.0f", turn.rate),
		cell("%.0f", func(t turn) float64 { return t.P50 }), cell("%.0f", func(t turn) float64 { return t.P99 }),
		cell("%.0f", func(t turn) float64 { return t.P999 }), r.memory(i), r.remarks(i))
}

// memory returns the resident memory after all turns, and its ratio.
func (r *result) memory(i int) string {
	s := fmt.Sprintf("%.1f", float64(r.resident[i])/(1<<20))
	if i > 0 {
		s += fmt.Sprintf(" ×%.2f", float64(r.resident[i])/float64(r.resident[0]))
	}
	return s
}

// remarks says what makes the figures less than they seem.
func (r *result) remarks(i int) (s string) {
	if median(each(r.turns[i], func(t turn) float64 { return float64(t.Client) / float64(t.Wall) })) > 0.95 {
		s = "client"
	}
	if median(each(r.turns[i], func(t turn) float64 { return float64(t.Waited) / float64(t.Wall) })) > 0.05 {
		s += " busy"
	}
	return s
}

// ratios returns the contestant's figure divided by the reference's, turn by turn.
func (r *result) ratios(of func(turn) float64) []float64 {
	list := each(r.turns[1], of)
	for i, t := range r.turns[0] {
		list[i] /= of(t)
	}
	return list
}

func each(turns []turn, of func(turn) float64) []float64 {
	list := make([]float64, len(turns))
	for i, t := range turns {
		list[i] = of(t)
	}
	return list
}

func median(list []float64) float64 { return quantile(list, 0.5) }

// quantile returns the q-th quantile, between two values if need be.
func quantile(list []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
