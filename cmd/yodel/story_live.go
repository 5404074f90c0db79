package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"yodel/sock"
	"yodel/story"
	"yodel/trace"
	"yodel/watch"
	"yodel/watch/pcap"
)

// Times of the connection that yodel story makes.
const (
	greetingTime = time.Second      // for a server that speaks first
	answerTime   = 10 * time.Second // for the answer to what was sent
	storyTime    = 30 * time.Second // all of it
)

// tellCall makes a connection, watches it if it may, says what was asked for, waits for
// the answer, or else for a greeting, closes, and tells it.
func (f *storyFlags) tellCall(ctx context.Context, s std, to sock.Address, opt *story.Options) (*story.Telling, error) {
	ctx, cancel := context.WithTimeout(ctx, storyTime)
	defer cancel()
	tap, tapErr := tapOwn(s, false)
	var file bytes.Buffer
	lines := trace.NewWriter(&file)
	silent, dialErr := f.talk(ctx, to, &sock.Options{Sink: trace.EachCall(lines)})
	if err := lines.Close(); err != nil {
		return nil, err
	}
	sources := []story.Source{{Name: "this call", R: &file}}
	if tap != nil {
		packets, err := tap.end()
		if err != nil {
			return nil, err
		}
		sources = append(sources, packets)
	}
	told, err := story.Tell(ctx, sources, opt)
	if err != nil {
		return nil, errors.Join(dialErr, err)
	}
	if tapErr != nil {
		told.Notes = append(told.Notes, fmt.Sprintf("the packets were not watched: %v", tapErr))
	}
	if silent {
		told.Notes = append(told.Notes, "the server said nothing: this client waited for a greeting for a second; --send has it say something")
	}
	return told, dialErr
}

// talk is the connection. It reports whether the client waited for a greeting in vain.
func (f *storyFlags) talk(ctx context.Context, to sock.Address, opts *sock.Options) (silent bool, err error) {
	conn, err := sock.Dial(ctx, to, opts)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	wait := greetingTime
	if f.send != "" {
		wait = answerTime
		if _, err := io.WriteString(conn, f.send+"\r\n"); err != nil {
			return false, err
		}
	}
	conn.SetReadDeadline(time.Now().Add(wait))
	n, _ := conn.Read(make([]byte, 4096))
	return n == 0 && f.send == "", nil
}

// tapSize is how many bytes of packets a wiretap keeps at most.
const tapSize = 16 << 20

// keptPackets is a View that keeps the packets of a call for yodel story last.
type keptPackets struct {
	*watch.Recorder
	file *os.File
	out  *pcap.Writer
	size int
}

// keepPackets begins a file of the ring. It is nil if nothing is to be kept, or can't be:
// a convenience must not keep anyone from working.
func keepPackets(off bool) *keptPackets {
	dir, err := stateDir()
	if off || err != nil {
		return nil
	}
	dir = filepath.Join(dir, recentDir)
	sweepRecent(dir, recentSize-recentFileSize)
	file, err := createRecent(dir, ".pcapng")
	if err != nil {
		return nil
	}
	out := pcap.NewWriter(file, &pcap.Section{Application: "yodel call " + versionText()})
	return &keptPackets{Recorder: watch.NewRecorder(out), file: file, out: out}
}

// view returns the View; nil for nil.
func (k *keptPackets) view() watch.View {
	if k == nil {
		return nil
	}
	return k
}

// Show implements watch.View. It never fails: what can't be kept is left out.
func (k *keptPackets) Show(e *watch.Event) error {
	if e.Packet != nil {
		k.size += len(e.Packet.Data) + 100
	}
	if k.size < recentFileSize {
		k.Recorder.Show(e)
	}
	return nil
}

func (k *keptPackets) close() {
	if k != nil {
		k.out.Flush()
		k.file.Close()
	}
}

// A wiretap captures this process's own connections, for a story of them.
type wiretap struct {
	file   bytes.Buffer
	source *liveSource
	tail   *tail
	done   chan error
}

// tapOwn begins to capture what this process will do. See ownCapture for its errors. Its
// privileges are given up unless they are needed for more.
func tapOwn(s std, needed bool) (*wiretap, error) {
	open := ownCapture
	if needed {
		open = keptCapture
	}
	source, err := open(s)
	if err != nil {
		return nil, err
	}
	t := &wiretap{source: source, tail: newTail(source), done: make(chan error, 1)}
	source.tick = t.tail.tick
	out := pcap.NewWriter(&t.file, &pcap.Section{Application: "yodel story " + versionText()})
	views := watch.Views(&bounded{View: watch.NewRecorder(out), file: &t.file}, t.tail)
	go func() {
		_, err := watch.Watch(context.Background(), source, &watch.Config{View: views})
		t.done <- errors.Join(err, out.Flush())
	}()
	return t, nil
}

// end waits until the connections are over, a second at most, and returns the capture.
func (t *wiretap) end() (story.Source, error) {
	t.tail.end()
	err := errors.Join(<-t.done, t.source.close())
	return story.Source{Name: "the packets of this program", R: &t.file}, err
}

// bounded is a View that lets nothing pass when enough has been written.
type bounded struct {
	watch.View
	file *bytes.Buffer
}

// Show implements watch.View.
func (b *bounded) Show(e *watch.Event) error {
	if b.file.Len() > tapSize && e.Type != watch.Ended {
		return nil
	}
	return b.View.Show(e)
}
