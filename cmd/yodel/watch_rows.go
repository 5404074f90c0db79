package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"yodel/watch"
	"yodel/watch/capture"
)

// A board shows a row for each connection, and the sum of each that has ended. On a
// terminal the rows stand below all else, and are drawn anew; elsewhere there is a line
// where a connection is new, is in another state, or is gone.
type board struct {
	watch.Overview
	out    io.Writer
	screen *os.File        // nil: no terminal
	json   *watch.JSONView // nil: text
	sums   watch.View
	others string // that was said last
	said   bool   // the heading was
	lines  []string
	drawn  int // lines that stand on the screen now
}

// overview returns a board for what is watched, which is drawn with the time.
func (l *liveWatch) overview() watch.View {
	b := &board{Overview: watch.Overview{Captured: l.capture != nil}, out: l.shown, screen: l.screen()}
	b.sums = &watch.Diagram{W: above{b}, Brief: true}
	if l.json {
		b.json, b.screen = &watch.JSONView{W: b.out}, nil
		b.sums = b.json
	}
	l.packets.tick = func(now time.Time) error {
		list, err := l.table.Refresh()
		if err != nil {
			return err
		}
		list.Own = slices.DeleteFunc(list.Own, func(c capture.Connection) bool { return !l.filter.MatchPair(c.Local, c.Remote) })
		return b.update(now, &list)
	}
	if l.capture == nil {
		l.packets.clock.Reset(tickTime / 5) // or what is short would not be seen at all
	}
	return b
}

// screen returns the terminal that rows are drawn on; nil if they are lines.
func (l *liveWatch) screen() *os.File {
	f, ok := l.out.(*os.File)
	if l.run || l.shownFile != "" || !ok || !isTerminal(f) {
		return nil
	}
	return f
}

// Show implements watch.View. Packets are only counted.
func (b *board) Show(e *watch.Event) error {
	b.Overview.Show(e)
	switch e.Type {
	case watch.FlowEnded:
		return b.sums.Show(e)
	case watch.Ended:
		return b.end(e)
	}
	return nil
}

// end leaves the last rows on the screen, and shows the sum of all, if there was one.
func (b *board) end(e *watch.Event) error {
	if n := len(b.lines); b.drawn > 0 && n > 0 {
		b.lines[n-1] = b.OthersText()
		if err := b.draw(); err != nil {
			return err
		}
	}
	b.screen = nil // what follows stands below
	if b.json == nil && !b.Captured {
		return nil
	}
	return b.sums.Show(e)
}

// update shows what the kernel's list says now.
func (b *board) update(now time.Time, list *capture.Connections) error {
	all, changed := b.Update(list)
	switch {
	case b.json != nil:
		return b.updateJSON(now, changed)
	case b.screen == nil:
		return b.updateLines(now, changed)
	}
	width, height, err := term.GetSize(int(b.screen.Fd()))
	if err != nil || width <= 0 || height <= 0 { // a new pty may have none
		width, height = 80, 24
	}
	b.lines = b.region(all, width, height)
	return b.draw()
}

func (b *board) updateJSON(now time.Time, changed []watch.Row) error {
	if others := b.OthersText(); others != b.others {
		b.others = others
		if err := b.json.ShowOthers(now, &b.Overview); err != nil {
			return err
		}
	}
	for i := range changed {
		if err := b.json.ShowRow(now, &changed[i]); err != nil {
			return err
		}
	}
	return nil
}

func (b *board) updateLines(_ time.Time, changed []watch.Row) error {
	var text strings.Builder
	if !b.said {
		b.said = true
		fmt.Fprintln(&text, watch.RowHeading(watch.WideRow))
	}
	for i := range changed {
		fmt.Fprintln(&text, changed[i].Text(watch.WideRow))
	}
	if others := b.OthersText(); others != b.others {
		b.others = others
		fmt.Fprintln(&text, others)
	}
	_, err := io.WriteString(b.out, text.String())
	return err
}

// region is what stands on the screen: no wider and no higher than that.
func (b *board) region(rows []watch.Row, width, height int) []string {
	lines := []string{watch.RowHeading(width)}
	room := max(height-4, 1)
	for i := range rows {
		if i == room && len(rows) > room {
			lines = append(lines, fmt.Sprintf("and %d more", len(rows)-room))
			break
		}
		lines = append(lines, rows[i].Text(width))
	}
	lines = append(lines, b.OthersText()+"; ^C ends")
	for i, line := range lines {
		if r := []rune(line); len(r) >= width {
			lines[i] = string(r[:width-1])
		}
	}
	return lines
}

// draw draws the region anew, below what was said.
func (b *board) draw() error {
	_, err := io.WriteString(b.out, b.erase()+strings.Join(b.lines, "\n")+"\n")
	b.drawn = len(b.lines)
	return err
}

// erase returns what makes the screen as if the region were not there.
func (b *board) erase() string {
	if b.drawn == 0 {
		return ""
	}
	text := fmt.Sprintf("\x1b[%dA\r\x1b[J", b.drawn)
	b.drawn = 0
	return text
}

// above writes above the region.
type above struct{ *board }

func (a above) Write(p []byte) (int, error) {
	if a.screen == nil {
		return a.out.Write(p)
	}
	if _, err := io.WriteString(a.out, a.erase()); err != nil {
		return 0, err
	}
	n, err := a.out.Write(p)
	if err == nil {
		err = a.draw()
	}
	return n, err
}
