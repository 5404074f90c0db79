package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"yodel/internal/escape"
	"yodel/watch"
	"yodel/watch/pcap"
)

// watchFlags are the flags of watch.
type watchFlags struct {
	read, write      string
	follow           bool
	json, hex, brief bool
	text             int
}

func newWatch(s std) *cobra.Command {
	f := &watchFlags{}
	cmd := &cobra.Command{
		Use:   "watch [PORT|ADDRESS|SOCKET...]",
		Short: "See the packets of connections, and what each one means",
		Long: `See the packets of connections as a sequence diagram, one row a packet: flags, numbers,
payload, and what it means: connect(), sent again and why, a reader that does not read,
who has reset it. At the end comes the sum of each connection.

A capture file (pcap or pcapng, of tcpdump, Wireshark or yodel) is read with --read; "-"
is standard input. Words narrow what is shown: a port (80, smtp), an address
(192.0.2.1, 2001:db8::/32) or a socket (192.0.2.1:80, [::1]:80), at either end.`,
		Example: `  yodel watch --read echo.pcapng
  yodel watch --read echo.pcapng --json 15213
  yodel watch --read big.pcap --write echo.pcapng 127.0.0.1:15213
  yodel watch --read growing.pcap --follow`,
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := watch.ParseFilter(args...)
			if err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context(), s, filter)
		},
	}
	f.bind(cmd.Flags())
	cmd.MarkFlagsMutuallyExclusive("json", "hex")
	cmd.MarkFlagsMutuallyExclusive("json", "summary")
	cmd.MarkFlagsMutuallyExclusive("hex", "summary")
	return cmd
}

func (f *watchFlags) bind(fs *pflag.FlagSet) {
	fs.StringVarP(&f.read, "read", "r", "", "read the packets of a capture `file`; - is standard input")
	fs.BoolVarP(&f.follow, "follow", "f", false, "with --read: wait for more at the end of the file")
	fs.StringVarP(&f.write, "write", "w", "", "write what is shown to a pcapng `file`; - is standard output")
	fs.BoolVar(&f.json, "json", false, "print JSON lines")
	fs.BoolVar(&f.hex, "hex", false, "show payload as a hexadecimal dump")
	fs.IntVar(&f.text, "text", watch.DefaultText, "show so many bytes of payload in a row; 0: none")
	fs.BoolVar(&f.brief, "summary", false, "show the sums only")
}

// run is one watch.
func (f *watchFlags) run(ctx context.Context, s std, filter watch.Filter) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer onInterrupt(cancel)()
	signal.Ignore(syscall.SIGPIPE) // what is recorded is finished, though nobody looks
	src, closeSource, err := f.open(ctx, s)
	if err != nil {
		return err
	}
	defer closeSource()
	out := newWatchOutput(s.out, f.read != "" && f.read != "-" && !f.follow)
	record, closeRecord, err := f.record(src, s)
	if err != nil {
		return err
	}
	cfg := &watch.Config{Filter: filter, View: watch.Views(f.view(out), record)}
	_, err = watch.Watch(ctx, src.Source, cfg)
	if cut := (*pcap.TruncatedError)(nil); ctx.Err() != nil && errors.As(err, &cut) {
		err = nil // we have stopped reading, the file goes on
	}
	err = errors.Join(f.named(err), out.Flush(), closeRecord())
	if errors.Is(err, syscall.EPIPE) { // head(1) has seen enough
		err = nil
	}
	return err
}

func (f *watchFlags) check() error {
	switch {
	case f.follow && f.read == "":
		return usagef("--follow goes on at the end of a file: say which, with --read")
	case f.follow && f.read == "-":
		return usagef("--follow is for files: a pipe goes on until its writer ends it")
	case f.write == "-" && (f.json || f.hex || f.brief):
		return usagef("--write - needs standard output for itself: leave --json, --hex and --summary out, or write to a file")
	}
	return nil
}

// named says which file an error is about.
func (f *watchFlags) named(err error) error {
	if err == nil || f.read == "" {
		return err
	}
	name := f.read
	if name == "-" {
		name = "standard input"
	}
	return fmt.Errorf("read %s: %w", escape.StringN(name, 200), err)
}

// view is what shows the packets: nothing if standard output is for the capture.
func (f *watchFlags) view(w io.Writer) watch.View {
	switch {
	case f.write == "-":
		return nil
	case f.json:
		return &watch.JSONView{W: w}
	}
	text := f.text
	if text == 0 {
		text = -1
	}
	return &watch.Diagram{W: w, Hex: f.hex, Brief: f.brief, Text: text}
}

// packetSource is where packets come from, and what is known of that.
type packetSource struct {
	watch.Source
	file *os.File     // nil: none, or standard input
	pcap *pcap.Reader // nil: live
}

// open opens what is to be watched. The function returned closes it.
func (f *watchFlags) open(ctx context.Context, s std) (*packetSource, func() error, error) {
	if f.read == "" {
		return openLive(ctx, f)
	}
	in, file, err := f.input(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	closeFile := func() error { return nil }
	if file != nil {
		closeFile = file.Close
	}
	r, err := pcap.NewReader(in)
	if err != nil {
		closeFile()
		return nil, nil, f.named(err)
	}
	return &packetSource{watch.File(r), file, r}, closeFile, nil
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

// record returns what writes the capture file that was asked for; nil if none was.
func (f *watchFlags) record(src *packetSource, s std) (watch.View, func() error, error) {
	done := func() error { return nil }
	if f.write == "" {
		return nil, done, nil
	}
	out := s.out
	if f.write != "-" {
		file, err := createCapture(f.write, src.file)
		if err != nil {
			return nil, nil, err
		}
		out, done = file, file.Close
	}
	w := pcap.NewWriter(out, &pcap.Section{
		OS: runtime.GOOS, Hardware: runtime.GOARCH, Application: "yodel watch " + versionText(),
	})
	finish := func() error {
		if src.pcap != nil {
			w.WriteNames(src.pcap.Names())
		}
		return errors.Join(w.Flush(), done())
	}
	return watch.NewRecorder(w), finish, nil
}

// createCapture creates a capture file, which is for its owner alone, unless it is the
// one that is read.
func createCapture(path string, reading *os.File) (*os.File, error) {
	if reading != nil {
		if here, err := os.Stat(path); err == nil {
			if there, err := reading.Stat(); err == nil && os.SameFile(here, there) {
				return nil, usagef("--write %s is the file that is read: write to another one", escape.StringN(path, 200))
			}
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--write: %w", err)
	}
	return file, nil
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
