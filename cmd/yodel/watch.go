package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"yodel/internal/escape"
	"yodel/internal/privilege"
	"yodel/watch"
	"yodel/watch/pcap"
)

// watchFlags are the flags of watch.
type watchFlags struct {
	read, write, html        string
	follow                   bool
	json, hex, brief, quiet  bool
	text, count, ring        int
	run, packets, allUsers   bool
	pids                     []int
	interfaceName, shownFile string
	duration                 time.Duration
}

func newWatch(s std) *cobra.Command {
	f := &watchFlags{}
	cmd := &cobra.Command{
		Use:   "watch [PORT|ADDRESS|SOCKET...] [--run -- COMMAND...]",
		Short: "See the packets of your own connections, and what each one means",
		Long: `See what your own connections put on the wire, and nobody else's. Alone it shows a row for each
connection. With a port (80, smtp), an address (192.0.2.1, 2001:db8::/32), a socket
(192.0.2.1:80, [::1]:80), a process (--pid) or a command (--run) it shows those packets as a
sequence diagram, one row a packet: flags, numbers, payload, and what it means: connect(), sent
again and why, a reader that does not read, who has reset it. At the end of each connection, and
with ^C, comes its sum.

That needs root or some capabilities, and Linux; without them the list of connections is shown.
With --read packets come from a capture file (pcap or pcapng, of tcpdump, Wireshark or yodel), on
any system; "-" is standard input.

With --run what is shown goes to standard error (--output), and the exit status is the command's:
128 and the number of the signal that has ended it.`,
		Example: `  yodel watch
  yodel watch 15213
  yodel watch --run -- curl -s http://localhost:10080/
  yodel watch smtp --write mail.pcapng --html mail.html
  yodel watch --read echo.pcapng --json 15213`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var command []string
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				args, command = args[:n], args[n:]
			}
			filter, err := watch.ParseFilter(args...)
			if err != nil {
				return usageError{err}
			}
			return f.start(cmd.Context(), s, filter, command)
		},
	}
	f.bind(cmd.Flags())
	advanced(cmd, "text", "count", "duration", "interface", "ring", "all-users", "output", "quiet", "packets")
	cmd.MarkFlagsMutuallyExclusive("json", "hex", "summary", "quiet")
	for _, live := range []string{"run", "pid", "all-users", "interface", "duration", "ring", "packets"} {
		cmd.MarkFlagsMutuallyExclusive("read", live)
	}
	cmd.MarkFlagsMutuallyExclusive("run", "duration")
	cmd.MarkFlagsMutuallyExclusive("run", "count")
	return cmd
}

func (f *watchFlags) bind(fs *pflag.FlagSet) {
	fs.StringVarP(&f.read, "read", "r", "", "read the packets of a capture `file`; - is standard input")
	fs.BoolVarP(&f.follow, "follow", "f", false, "with --read: wait for more at the end of the file")
	fs.StringVarP(&f.write, "write", "w", "", "write the packets shown to a pcapng `file`; - is standard output")
	fs.StringVar(&f.html, "html", "", "write a page of the packets shown to a `file`, at the end")
	fs.BoolVar(&f.run, "run", false, "run the command after --, and show its connections")
	fs.IntSliceVarP(&f.pids, "pid", "p", nil, "show the connections of this `process` and of those that it starts")
	fs.BoolVar(&f.packets, "packets", false, "show each packet, though no connection is named")
	fs.BoolVar(&f.json, "json", false, "print JSON lines")
	fs.BoolVar(&f.hex, "hex", false, "show payload as a hexadecimal dump")
	fs.BoolVar(&f.brief, "summary", false, "show the sums only")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "show nothing but the sum of all, on standard error")
	fs.IntVar(&f.text, "text", watch.DefaultText, "show so many bytes of payload in a row; 0: none")
	fs.IntVarP(&f.count, "count", "c", 0, "end after so many packets have been shown; 0: do not")
	fs.DurationVar(&f.duration, "duration", 0, "end after so long; 0: do not")
	fs.StringVarP(&f.interfaceName, "interface", "i", "", "watch this interface only, by its `name`")
	fs.IntVar(&f.ring, "ring", 0, "how many KiB of packets may wait; 0: 16,384")
	fs.BoolVar(&f.allUsers, "all-users", false, "as root: show the connections of all users; it is said wherever they are shown")
	fs.StringVarP(&f.shownFile, "output", "o", "", "show on this `file`; - is standard output")
}

// start is one watch, of a file or of what goes on.
func (f *watchFlags) start(ctx context.Context, s std, filter watch.Filter, command []string) error {
	if err := f.check(command); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signal.Ignore(syscall.SIGPIPE) // what is recorded is finished, though nobody looks
	w := &watching{watchFlags: f, std: s, filter: filter, command: command}
	var err error
	if f.read != "" {
		defer onInterrupt(cancel)()
		err = w.file(ctx)
	} else {
		err = w.live(ctx)
	}
	if errors.Is(err, syscall.EPIPE) { // head(1) has seen enough
		err = nil
	}
	return err
}

func (f *watchFlags) check(command []string) error {
	if f.run != (len(command) > 0) {
		return usagef("say --run and, after --, what to run: yodel watch --run -- curl http://localhost/")
	}
	for name, n := range map[string]int64{"count": int64(f.count), "duration": int64(f.duration), "ring": int64(f.ring)} {
		if n < 0 {
			return usagef("--%s=%d: it can't be negative", name, n)
		}
	}
	toStdout := f.write == "-"
	switch {
	case f.follow && f.read == "":
		return usagef("--follow goes on at the end of a file: say which, with --read")
	case f.follow && f.read == "-":
		return usagef("--follow is for files: a pipe goes on until its writer ends it")
	case toStdout && (f.json || f.hex || f.brief) && f.shownFile == "":
		return usagef("--write - needs standard output for itself: leave --json, --hex and --summary out, say --output, or write to a file")
	case toStdout && f.run:
		return usagef("--write -: standard output is the command's: write to a file")
	case f.ring > 1<<20:
		return usagef("--ring=%d: at most %d KiB (1 GiB)", f.ring, 1<<20)
	}
	return nil
}

// watching is one watch under way.
type watching struct {
	*watchFlags
	std
	filter  watch.Filter
	command []string
	user    privilege.Credentials // who has called sudo; the zero value: nobody has

	source  packetSource
	shown   io.Writer // where rows go; nil: nowhere
	flush   []func() error
	closers []func() error
}

// file watches a file.
func (w *watching) file(ctx context.Context) (err error) {
	defer func() { err = w.finish(err) }()
	if err := w.open(ctx); err != nil {
		return err
	}
	if err := w.openShown(w.read != "-" && !w.follow); err != nil {
		return err
	}
	record, err := w.record("")
	if err != nil {
		return err
	}
	page, err := w.page("what " + escape.StringN(w.read, 200) + " has")
	if err != nil {
		return err
	}
	err = w.watch(ctx, w.view(), record, page)
	if cut := (*pcap.TruncatedError)(nil); ctx.Err() != nil && errors.As(err, &cut) {
		err = nil // we have stopped reading, the file goes on
	}
	return w.named(err)
}

// watch shows what the source has.
func (w *watching) watch(ctx context.Context, views ...watch.View) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.count > 0 {
		views = append(views, &countView{left: w.count, done: cancel})
	}
	sum, err := watch.Watch(ctx, w.source.Source, &watch.Config{Filter: w.filter, View: watch.Views(views...)})
	if w.quiet {
		fmt.Fprint(w.err, watch.CaptureSummary(sum))
	}
	return err
}

// finish writes out what waits, and closes all. It returns err, with what fails now for
// another reason.
func (w *watching) finish(err error) error {
	for _, f := range append(w.flush, w.closers...) {
		if more := f(); more != nil && !errors.Is(err, more) { // a writer says again what it has said
			err = errors.Join(err, more)
		}
	}
	return err
}

// countView ends a watch after so many packets.
type countView struct {
	left int
	done func()
}

func (v *countView) Show(e *watch.Event) error {
	switch e.Type {
	case watch.Segment, watch.Datagram, watch.ICMP:
		if v.left--; v.left == 0 {
			v.done()
		}
	}
	return nil
}

// named says which file an error is about, unless it is about one that is written.
func (f *watchFlags) named(err error) error {
	if err == nil || f.read == "" {
		return err
	}
	if other, ok := errors.AsType[*fs.PathError](err); ok && other.Op == "write" {
		return err
	}
	name := f.read
	if name == "-" {
		name = "standard input"
	}
	return fmt.Errorf("read %s: %w", escape.StringN(name, 200), err)
}

// openShown opens what rows are shown on; they are gathered if nobody waits for more.
func (w *watching) openShown(gather bool) error {
	out := w.out
	switch {
	case w.quiet || w.write == "-" && w.shownFile == "":
		return nil
	case w.shownFile != "" && w.shownFile != "-":
		file, err := w.create("--output", w.shownFile)
		if err != nil {
			return err
		}
		out = file
	case w.run && w.shownFile == "":
		out = w.err
	}
	o := newWatchOutput(out, gather)
	w.shown = o
	w.flush = append(w.flush, o.Flush)
	return nil
}

// view is what shows the packets: nil if nothing does.
func (w *watching) view() watch.View {
	switch {
	case w.shown == nil:
		return nil
	case w.json:
		return &watch.JSONView{W: w.shown}
	}
	text := w.text
	if text == 0 {
		text = -1
	}
	return &watch.Diagram{W: w.shown, Hex: w.hex, Brief: w.brief, Text: text}
}

// packetSource is where packets come from, and what is known of that.
type packetSource struct {
	watch.Source
	file *os.File     // nil: none, or standard input
	pcap *pcap.Reader // nil: live
}

// open opens the file that is to be watched.
func (w *watching) open(ctx context.Context) error {
	in, file, err := w.input(ctx, w.std)
	if err != nil {
		return err
	}
	if file != nil {
		w.closers = append(w.closers, file.Close)
	}
	r, err := pcap.NewReader(in)
	if err != nil {
		return w.named(err)
	}
	w.source = packetSource{watch.File(r), file, r}
	return nil
}

// input opens the file to read.
func (f *watchFlags) input(ctx context.Context, s std) (io.Reader, *os.File, error) {
	if f.read == "-" {
		return untilDone(ctx, s.in), nil, nil
	}
	file, err := os.Open(f.read)
	if err != nil {
		return nil, nil, fmt.Errorf("--read: %w", err)
	}
	if f.follow {
		return pcap.Follow(ctx, file, 0), file, nil
	}
	return file, file, nil
}

// untilDone returns what is read from r, and ends when ctx is done: a Read of standard
// input that is under way can't be broken off.
func untilDone(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err) // nil is io.EOF
	}()
	context.AfterFunc(ctx, func() { in.CloseWithError(io.EOF) })
	return out
}

// record returns what writes the capture file that was asked for; nil if none was. The
// comment is for the whole file.
func (w *watching) record(comment string) (watch.View, error) {
	p, err := w.captureFile(comment)
	if p == nil || err != nil {
		return nil, err
	}
	return watch.NewRecorder(p), nil
}

// captureFile opens the capture file that was asked for; nil if none was.
func (w *watching) captureFile(comment string) (*pcap.Writer, error) {
	if w.write == "" {
		return nil, nil
	}
	out := w.out
	if w.write != "-" {
		file, err := w.create("--write", w.write)
		if err != nil {
			return nil, err
		}
		out = file
	}
	p := pcap.NewWriter(out, &pcap.Section{
		OS: runtime.GOOS, Hardware: runtime.GOARCH, Application: "yodel watch " + versionText(), Comment: comment,
	})
	w.flush = append(w.flush, func() error {
		if w.source.pcap != nil {
			p.WriteNames(w.source.pcap.Names())
		}
		return p.Flush()
	})
	return p, nil
}

// page returns what writes the page that was asked for; nil if none was.
func (w *watching) page(about string) (watch.View, error) {
	if w.html == "" {
		return nil, nil
	}
	file, err := w.create("--html", w.html)
	if err != nil {
		return nil, err
	}
	return &watch.Page{W: file, About: about}, nil
}

// create creates a file that is for its owner alone: it may have what others said. It is
// not the one that is read.
func (w *watching) create(flag, path string) (*os.File, error) {
	if reading := w.source.file; reading != nil {
		if here, err := os.Stat(path); err == nil {
			if there, err := reading.Stat(); err == nil && os.SameFile(here, there) {
				return nil, usagef("%s %s is the file that is read: write to another one", flag, escape.StringN(path, 200))
			}
		}
	}
	var file *os.File
	err := asInvoker(w.user, func() (err error) {
		file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	w.closers = append(w.closers, file.Close)
	if err := w.keepPrivate(file); err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, escape.StringN(path, 200), err)
	}
	return file, nil
}

// keepPrivate empties a file that may have been there before, so that nobody but its owner
// can read what will be in it, and refuses one of somebody else's. What is no file, such as
// a terminal, stays as it is.
func (w *watching) keepPrivate(file *os.File) error {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	us := uint32(os.Geteuid())
	if w.user.UID != 0 {
		us = w.user.UID
	}
	if owner, known := ownerOf(info); known && owner != us {
		return fmt.Errorf("it belongs to %s, who could read what is written: remove it, or write to another file", userName(owner))
	}
	if err := file.Chmod(0o600); err != nil {
		return err
	}
	return file.Truncate(0)
}

// watchOutput is where rows go: at once while somebody may be waiting for more, gathered
// when a whole file is read.
type watchOutput struct {
	io.Writer
	Flush func() error
}

func newWatchOutput(w io.Writer, gather bool) watchOutput {
	if !gather {
		return watchOutput{w, func() error { return nil }}
	}
	b := bufio.NewWriterSize(w, 64<<10)
	return watchOutput{b, b.Flush}
}
