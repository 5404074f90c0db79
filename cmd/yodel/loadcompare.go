package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"yodel/call"
	"yodel/load"
)

func quantileText(q float64) string { return strconv.FormatFloat(q, 'f', -1, 64) }

// newCompare is the command yodel load compare.
func newCompare(s std) *cobra.Command {
	c := &comparing{std: s}
	cmd := &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "Compare two reports, with confidence intervals",
		Long: `Compare two reports that yodel load --json has printed. Each figure has its 95 % confidence
interval; what differs by less than chance is "same". If the second is worse by more than the
tolerance, the exit status is 6. What differs from one run to the next on the same machine no
single run can know: for that, repeat both.`,
		Example: `  yodel load localhost:10007 --rate 20k --json > before.json
  yodel load localhost:10007 --rate 20k --json > after.json
  yodel load compare before.json after.json --tolerance 0.1`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error { return c.run(args[0], args[1]) },
	}
	cmd.Flags().Float64Var(&c.tolerance, "tolerance", 0.05, "what is worse by no more than this `part` is no regression")
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON lines")
	cmd.PreRunE = checkFlags
	return cmd
}

type comparing struct {
	std
	tolerance float64
	json      bool
}

func (c *comparing) run(a, b string) error {
	if !(c.tolerance >= 0) {
		return usagef("--tolerance %v: it must be 0 or more", c.tolerance)
	}
	first, err := readReport(a)
	if err != nil {
		return err
	}
	second, err := readReport(b)
	if err != nil {
		return err
	}
	all, err := load.Compare(first, second, c.tolerance)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(all, load.Notes(first, second))
	} else {
		c.printTable(all, load.Notes(first, second))
	}
	for _, d := range all {
		if d.Regression {
			return &wrongError{fmt.Sprintf("%s is worse by %.1f %%, which is more than the tolerance of %.1f %%", d.Figure, 100*abs(d.Change), 100*c.tolerance), call.StatusWrong}
		}
	}
	return nil
}

func abs(x float64) float64 { return max(x, -x) }

func readReport(path string) (*load.Document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := load.ReadDocument(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func (c *comparing) printTable(all []load.Difference, notes []string) {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tA\t95 %\tB\t95 %\tchange\t\t")
	for _, d := range all {
		fmt.Fprintf(w, "%s\t%.1f %s\t%.1f–%.1f\t%.1f %s\t%.1f–%.1f\t%+.1f %%\t%s\t\n", d.Figure,
			d.A.Value, d.Unit, d.A.Low, d.A.High, d.B.Value, d.Unit, d.B.Low, d.B.High, 100*d.Change, d.Verdict)
	}
	w.Flush()
	if len(notes) > 0 {
		fmt.Fprintf(c.out, "\nThe runs are not alike in all:\n  - %s\n", strings.Join(notes, "\n  - "))
	}
}

// differenceJSON is a line of load compare --json; docs/json.md describes it.
type differenceJSON struct {
	Type       string     `json:"type"`
	Time       string     `json:"time"`
	Figure     string     `json:"figure"`
	Unit       string     `json:"unit"`
	A          [3]float64 `json:"a"`
	B          [3]float64 `json:"b"`
	Change     float64    `json:"change"`
	Verdict    string     `json:"verdict"`
	Regression bool       `json:"regression"`
}

// noteJSON is another line of it.
type noteJSON struct {
	Type string `json:"type"`
	Time string `json:"time"`
	Text string `json:"text"`
}

func (c *comparing) printJSON(all []load.Difference, notes []string) {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for _, d := range all {
		printJSON(c.out, differenceJSON{
			"difference", now, d.Figure, d.Unit,
			[3]float64{d.A.Low, d.A.Value, d.A.High},
			[3]float64{d.B.Low, d.B.Value, d.B.High},
			d.Change, d.Verdict, d.Regression,
		})
	}
	for _, text := range notes {
		printJSON(c.out, noteJSON{"note", now, text})
	}
}
