package load

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/trace"
	"yodel/yodeltest"
)

var pictures = flag.String("pictures", "", "write pictures of the report in a browser to this `folder`")

// eventful is the report of a run in which much has happened.
func eventful() *Report {
	return made(20000, func(r *Report) {
		r.Plan.Pace = Constant(2000)
		for i := range 60 {
			p := Point{At: time.Duration(i+1) * time.Second, For: time.Second, Rate: 2000 - 30*math.Abs(float64(i-30)), P50: 1500 * time.Microsecond, P99: 1900 * time.Microsecond, Max: 2 * time.Millisecond}
			if i == 40 {
				p.Errors, p.P99, p.Max = 3, 40*time.Millisecond, 90*time.Millisecond
			}
			r.Series = append(r.Series, p)
			r.Lateness.RecordValue(int64(i) * 1000)
		}
		r.Errors[Timeout], r.Examples[Timeout] = 3, fmt.Errorf("connection 17: %s", strings.Repeat("no answer has come in time; ", 8))
		for i := range 5 {
			r.Slowest = append(r.Slowest, Slow{Latency: time.Duration(90-i) * time.Millisecond, Service: 80 * time.Millisecond, ID: trace.NewID(), Message: int64(i), At: 40 * time.Second})
		}
		r.Verdict = judge(r)
	})
}

// seen is what a page says of itself in a browser: its width, whether anything is wider than
// it, how many charts have a line with something to see, and its background.
const seen = `innerWidth+" "+(document.documentElement.scrollWidth<=innerWidth)+" "+
[...document.querySelectorAll("figure svg")].filter(s=>s.getBoundingClientRect().height>80&&
[...s.querySelectorAll("polyline")].some(p=>p.getBoundingClientRect().width>100)).length+" of "+
document.querySelectorAll("figure").length+" "+getComputedStyle(document.body).backgroundColor`

// In a browser, on a phone and on a desk, the page is as wide as the window, and its charts are
// charts, light and dark.
func TestReportInABrowser(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	if err := WriteHTML(&page, eventful()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		width int
		dark  bool
		want  string
	}{
		{390, true, "rgb(18, 22, 28)"},
		{1200, false, "rgb(255, 255, 255)"},
		{390, false, "rgb(255, 255, 255)"},
		{1200, true, "rgb(18, 22, 28)"},
	} {
		picture := ""
		if *pictures != "" {
			picture = filepath.Join(*pictures, fmt.Sprintf("load-%d-dark-%v.png", tt.width, tt.dark))
		} else if tt.dark != (tt.width == 390) {
			continue // two of the four say it all, where nobody looks
		}
		t.Run(fmt.Sprintf("%d dark %v", tt.width, tt.dark), func(t *testing.T) {
			t.Parallel()
			got := yodeltest.Chromium(t, page.String(), tt.width, 2600, tt.dark, seen, picture)
			if want := fmt.Sprintf("%d true 4 of 4 %s", tt.width, tt.want); got != want {
				t.Errorf("the page says %q, want %q", got, want)
			}
		})
	}
}
