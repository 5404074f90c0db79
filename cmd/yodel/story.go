package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"yodel/internal/escape"
	"yodel/sock"
	"yodel/story"
	"yodel/trace"
	"yodel/watch"
)

// storyFlags are the flags of story.
type storyFlags struct {
	json, brief, all bool
	html, send       string
	remarkable       time.Duration
	only             []string
	match            []string
	width            int
}

func newStory(s std) *cobra.Command {
	f := &storyFlags{}
	cmd := &cobra.Command{
		Use:   "story FILE... | story last | story HOST PORT",
		Short: "Tell a connection from both ends, and who kept whom waiting",
		Long: `Tell each connection from both ends on one time line: what the client called, what the wire
carried, what the server called; how long each of them had it; and a verdict: who kept whom
waiting, or who closed. What can't be known is not guessed: then the verdict is "cannot tell",
and it says what would have to be watched to tell.

Files are traces (--trace of yodel serve and call, or package trace) and captures (pcap or
pcapng, of tcpdump, Wireshark or yodel watch), in any order and number, recognised by what is
in them; "-" is standard input. Two captures, one of each end, are enough for a story of any
two programs. Their clocks need not agree.

"last" is the last connection of yodel serve or call of this user, which keep the recent ones
(--no-record turns that off). HOST PORT makes one connection, watches its packets if it may,
and tells it.`,
		Example: `  yodel story last
  yodel story client.pcap server.pcap
  yodel story client.jsonl server.jsonl a.pcapng b.pcapng --only 80
  yodel story a.pcap b.pcap --html story.html
  yodel story localhost 15213 --send "hello there"`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), s, args) },
	}
	f.bind(cmd.Flags())
	cmd.MarkFlagsMutuallyExclusive("json", "summary")
	cmd.MarkFlagsMutuallyExclusive("json", "all-rows")
	return cmd
}

func (f *storyFlags) bind(fs *pflag.FlagSet) {
	fs.BoolVar(&f.json, "json", false, "print JSON lines")
	fs.BoolVar(&f.brief, "summary", false, "show sums and verdicts only")
	fs.BoolVar(&f.all, "all-rows", false, "show all rows of a long story")
	fs.StringVar(&f.html, "html", "", "write the stories to a `file` too, as one page")
	fs.StringVar(&f.send, "send", "", "with HOST PORT: say this `text`, and wait for the answer")
	fs.DurationVar(&f.remarkable, "remarkable", story.DefaultRemarkable, "name who kept the other waiting for at least so long")
	fs.StringSliceVar(&f.only, "only", nil, "tell only connections of this `port`, address or socket")
	fs.StringSliceVar(&f.match, "match", nil, "join two connections by their names, as `A=B`, where their sockets do not show that they are one")
	fs.IntVar(&f.width, "width", story.NarrowWidth, "characters in a line: 80 or more")
}

func (f *storyFlags) run(ctx context.Context, s std, files []string) error {
	opt, err := f.options()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer onInterrupt(cancel)()
	told, err := f.tell(ctx, s, files, opt)
	if told == nil {
		return err
	}
	return errors.Join(err, f.output(s, told))
}

// output shows what was told, also of a connection that did not come about.
func (f *storyFlags) output(s std, told *story.Telling) error {
	if f.html != "" {
		if err := writePage(f.html, told); err != nil {
			return err
		}
	}
	return f.show(s, told)
}

// tell tells what the words mean: files, the last connection, or one that is made.
func (f *storyFlags) tell(ctx context.Context, s std, words []string, opt *story.Options) (*story.Telling, error) {
	if len(words) == 1 && words[0] == "last" {
		return tellLast(ctx, s, opt)
	}
	if to, ok := storyAddress(words); ok {
		return f.tellCall(ctx, s, to, opt)
	}
	return tellFiles(ctx, s, words, opt)
}

func tellFiles(ctx context.Context, s std, names []string, opt *story.Options) (*story.Telling, error) {
	sources, closeAll, err := openSources(ctx, s, names)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	return story.Tell(ctx, sources, opt)
}

// tellLast tells the connection that began last, of those that are kept.
func tellLast(ctx context.Context, s std, opt *story.Options) (*story.Telling, error) {
	names, err := lastFiles()
	if err != nil {
		return nil, err
	}
	opt.Stories = math.MaxInt
	told, err := tellFiles(ctx, s, names, opt)
	if err == nil && len(told.Stories) > 1 {
		told.Stories = told.Stories[len(told.Stories)-1:]
	}
	return told, err
}

// storyAddress reads an address, as yodel call takes it, from words that name no file.
func storyAddress(words []string) (to sock.Address, ok bool) {
	if len(words) > 2 {
		return to, false
	}
	for _, w := range words {
		if _, err := os.Stat(w); err == nil || w == "-" {
			return to, false
		}
	}
	to, err := sock.ParseAddress(words...)
	return to, err == nil && to.Network != "udp" && to.Port != 0
}

func (f *storyFlags) options() (*story.Options, error) {
	if f.remarkable <= 0 {
		return nil, usagef("--remarkable=%v: it must be longer than nothing", f.remarkable)
	}
	if f.width < story.NarrowWidth {
		return nil, usagef("--width=%d: a story needs %d characters in a line", f.width, story.NarrowWidth)
	}
	filter, err := watch.ParseFilter(f.only...)
	if err != nil {
		return nil, usageError{fmt.Errorf("--only: %w", err)}
	}
	opt := &story.Options{Remarkable: f.remarkable, Filter: filter}
	for _, m := range f.match {
		a, b, _ := strings.Cut(m, "=")
		one, errOne := trace.ParseConnID(a)
		two, errTwo := trace.ParseConnID(b)
		if errOne != nil || errTwo != nil || one.IsZero() || two.IsZero() {
			return nil, usagef("--match %q: write the names of two connections, as 0f31c9aa-3=77ab0c12-9", escape.StringN(m, 80))
		}
		opt.Match = append(opt.Match, [2]trace.ConnID{one, two})
	}
	return opt, nil
}

// openSources opens the files that are named.
func openSources(ctx context.Context, s std, names []string) ([]story.Source, func(), error) {
	var sources []story.Source
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	for _, name := range names {
		if name == "-" {
			sources = append(sources, story.Source{Name: "standard input", R: untilDone(ctx, s.in)})
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("%w%s", err, didYouMean(name, err))
		}
		files = append(files, file)
		sources = append(sources, story.Source{Name: name, R: file})
	}
	return sources, closeAll, nil
}

// didYouMean helps who has given an address.
func didYouMean(name string, err error) string {
	if _, addrErr := netip.ParseAddrPort(name); addrErr == nil && errors.Is(err, os.ErrNotExist) {
		return "; story reads files: record a connection first, with yodel call --trace FILE or tcpdump -w FILE"
	}
	return ""
}

func (f *storyFlags) show(s std, told *story.Telling) error {
	out := newWatchOutput(s.out, true)
	var err error
	if f.json {
		v := &story.JSONView{W: out}
		for _, one := range told.Stories {
			err = errors.Join(err, v.Show(one))
		}
		for _, n := range told.Notes {
			fmt.Fprintf(s.err, "yodel: story: %s\n", n)
		}
	} else {
		err = f.text(out, told)
	}
	return errors.Join(err, out.Flush())
}

func (f *storyFlags) text(w io.Writer, told *story.Telling) error {
	v := &story.TextView{W: w, Width: f.width, Brief: f.brief}
	if f.all {
		v.Rows = -1
	}
	for i, one := range told.Stories {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := v.Show(one); err != nil {
			return err
		}
	}
	return v.ShowNotes(told)
}

// writePage writes the page, which is for its owner alone: it may have what others said.
func writePage(name string, told *story.Telling) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return errors.Join(story.WritePage(file, told), file.Close())
}
