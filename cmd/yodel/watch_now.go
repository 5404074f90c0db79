package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"yodel/internal/escape"
	"yodel/watch"
	"yodel/watch/capture"
)

// liveWatch is a watch of what goes on.
type liveWatch struct {
	*watching
	cfg     capture.Config
	capture *capture.Capture // nil: nothing is captured
	why     error            // why not
	table   *capture.Table
	packets *liveSource
	child   *watchedChild // nil: none
	head    watch.Heading
}

// live watches what goes on, until somebody or something ends it.
func (w *watching) live(ctx context.Context) (err error) {
	defer func() { err = w.finish(err) }()
	if w.user, err = invoker(); err != nil {
		return err
	}
	l := &liveWatch{watching: w}
	if l.cfg, err = w.config(); err != nil {
		return err
	}
	if err := l.open(); err != nil {
		return err
	}
	if l.capture != nil && l.isWriteOnly() {
		return l.writeOnly(ctx)
	}
	views, err := l.views()
	if err != nil {
		return err
	}
	if w.run {
		if l.child, err = startChild(w.command, w.user, l.packets); err != nil {
			return err
		}
	}
	if err := lessen(w.std, w.user, true); err != nil {
		return errors.Join(err, l.child.kill())
	}
	return l.watchUntilTheEnd(ctx, views)
}

// config is what to capture: all that the kernel can choose by, and perhaps more than
// what the filter lets pass.
func (w *watching) config() (capture.Config, error) {
	cfg := capture.Config{
		Interface: w.interfaceName, UID: w.user.UID, AllUsers: w.allUsers, Ring: w.ring << 10,
		Ports: slices.Clone(w.filter.Ports), Addresses: slices.Clone(w.filter.Addresses), Processes: w.pids,
	}
	if w.allUsers {
		cfg.UID = 0
	}
	if len(cfg.Ports) == 0 {
		for _, s := range w.filter.Sockets {
			cfg.Ports = append(cfg.Ports, s.Port())
		}
	}
	for _, pid := range w.pids {
		if _, err := os.FindProcess(pid); err != nil || pid <= 0 || !alive(pid) {
			return cfg, fmt.Errorf("--pid=%d: there is no such process", pid)
		}
	}
	if w.run {
		cfg.Processes = append(slices.Clone(w.pids), os.Getpid())
	}
	switch {
	case w.isWriteOnly():
		cfg.Delay = 150 * time.Millisecond
	case w.isSilent():
		cfg.Delay = 100 * time.Millisecond // nobody waits for them
	}
	return cfg, nil
}

// isSilent reports whether nothing is shown before the end.
func (w *watching) isSilent() bool { return w.quiet || w.brief || w.write == "-" && w.shownFile == "" }

// isOverview reports whether rows of connections are shown, not packets.
func (l *liveWatch) isOverview() bool {
	if l.capture == nil {
		return true
	}
	all := len(l.filter.Ports)+len(l.filter.Addresses)+len(l.filter.Sockets) == 0
	return all && !l.run && len(l.pids) == 0 && !l.watching.packets && !l.hex && !l.brief && !l.quiet
}

// open opens the capture, and the list of connections. Without the right to capture the
// list is what is left, unless packets are asked for.
func (l *liveWatch) open() error {
	c, err := capture.Open(&l.cfg)
	if err == nil {
		l.capture = c
	} else if err = l.without(err); err != nil {
		return err
	}
	l.packets = newLiveSource(c)
	l.closers = append(l.closers, l.packets.close)
	l.source.Source = l.packets
	if l.table, err = capture.NewTable(&l.cfg); err != nil {
		if c == nil {
			return l.why // what was asked for first
		}
		return err
	}
	l.closers = append(l.closers, l.table.Close)
	l.head = l.heading()
	l.packets.filter = l.head.String()
	return nil
}

// without says what becomes of a watch that can't capture, for the reason given.
func (l *liveWatch) without(reason error) error {
	l.why = reason
	if !errors.Is(reason, capture.ErrPrivilege) && !errors.Is(reason, errors.ErrUnsupported) || l.allUsers {
		return reason
	}
	for flag, given := range map[string]bool{
		"write": l.write != "", "html": l.html != "", "hex": l.hex, "packets": l.watching.packets, "count": l.count > 0,
		"summary": l.brief, "quiet": l.quiet,
	} {
		if given {
			return fmt.Errorf("--%s needs packets: %w", flag, reason)
		}
	}
	return nil
}

// heading says what is watched.
func (l *liveWatch) heading() watch.Heading {
	h := watch.Heading{Time: time.Now(), User: userName(uint32(os.Getuid())), UID: uint32(os.Getuid()), Filter: l.filter.String()}
	if l.user.UID != 0 {
		h.User, h.UID = userName(l.user.UID), l.user.UID
	}
	for _, pid := range l.pids {
		h.Processes = append(h.Processes, strconv.Itoa(pid))
	}
	if l.run {
		h.Processes = append(h.Processes, "the command")
	}
	if l.capture == nil {
		h.Reason = l.why.Error()
		return h
	}
	info := l.capture.Info()
	h.Method, h.AllUsers, h.Ports, h.Reason = info.Method, info.AllUsers, info.Ports, info.Reason
	for _, i := range info.Interfaces {
		h.Interfaces = append(h.Interfaces, i.Name)
	}
	return h
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// views opens all that shows, and says at first what is watched.
func (l *liveWatch) views() ([]watch.View, error) {
	if err := l.openShown(true); err != nil {
		return nil, err
	}
	record, err := l.record(l.head.String())
	if err != nil {
		return nil, err
	}
	page, err := l.page(l.head.String())
	if err != nil {
		return nil, err
	}
	var shown watch.View
	switch {
	case l.shown == nil:
	case l.isOverview():
		shown = l.overview()
	default:
		shown = l.diagram()
	}
	if l.shown == nil || l.write == "-" {
		l.complain()
	} else if err := l.sayHead(); err != nil {
		return nil, err
	}
	l.packets.idle = l.flushShown
	return []watch.View{shown, record, page}, nil
}

// sayHead says what is watched where rows are shown, and on standard error what is
// lacking.
func (l *liveWatch) sayHead() error {
	if l.json {
		return (&watch.JSONView{W: l.shown}).ShowHeading(&l.head)
	}
	l.complain()
	_, err := fmt.Fprintln(l.shown, l.head.String())
	return err
}

func (l *liveWatch) complain() {
	switch {
	case l.capture == nil:
		fmt.Fprintf(l.err, "yodel: nothing is captured: %s\nyodel: shown is what the kernel's list of sockets tells\n", escape.StringN(l.head.Reason, 1000))
	case l.head.Reason != "":
		fmt.Fprintf(l.err, "yodel: fixed ports only, the weaker way: %s\n", escape.StringN(l.head.Reason, 1000))
	}
}

func (l *liveWatch) flushShown() error {
	if o, ok := l.shown.(watchOutput); ok {
		return o.Flush()
	}
	return nil
}

// diagram shows packets in full, with who has their sockets open.
func (l *liveWatch) diagram() watch.View {
	return &ownersView{next: l.view(), table: l.table, users: l.allUsers, names: map[int64]string{}}
}

// watchUntilTheEnd is the watch itself.
func (l *liveWatch) watchUntilTheEnd(ctx context.Context, views []watch.View) error {
	stop := func() { l.packets.stop() }
	if l.child != nil {
		views = append(views, l.child)
		l.packets.tick = join(l.packets.tick, l.child.tick)
		defer l.child.onSignal()()
	} else {
		defer onInterrupt(stop)()
	}
	if l.duration > 0 {
		defer time.AfterFunc(l.duration, stop).Stop()
	}
	defer context.AfterFunc(ctx, stop)()
	err := l.watch(context.WithoutCancel(ctx), views...)
	if l.child == nil {
		return err
	}
	status := l.child.wait()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return status
}

// join calls both, the first one first; nil stands for nothing.
func join(a, b func(time.Time) error) func(time.Time) error {
	if a == nil {
		return b
	}
	return func(now time.Time) error {
		if err := a(now); err != nil {
			return err
		}
		return b(now)
	}
}

// ownersView tells the next View whose sockets a packet goes between. A connection that
// has ended before it is looked for has no owner to be found.
type ownersView struct {
	next  watch.View
	table *capture.Table
	users bool // name the user, too
	list  capture.Connections
	names map[int64]string // of flows
}

// ownersTime is how old the list of connections may be in which an owner is looked for.
const ownersTime = 100 * time.Millisecond

// Show implements watch.View.
func (v *ownersView) Show(e *watch.Event) error {
	switch e.Type {
	case watch.Segment, watch.Datagram, watch.ICMP:
		name, known := v.names[e.Flow.Number]
		if !known {
			name = v.find(e)
			v.names[e.Flow.Number] = name
		}
		e.Packet.Owner = name
	case watch.FlowEnded:
		delete(v.names, e.Flow.Number)
	}
	return v.next.Show(e)
}

func (v *ownersView) find(e *watch.Event) string {
	if now := time.Now(); now.Sub(v.list.Time) > ownersTime {
		if list, err := v.table.Refresh(); err == nil {
			v.list = list
		}
	}
	var names []string
	for _, end := range watch.Ends(&v.list, e.Flow) {
		var parts []string
		if v.users {
			parts = append(parts, "user "+userName(end.UID))
		}
		for _, p := range end.Processes[:min(len(end.Processes), 2)] {
			parts = append(parts, watch.ProcessName(p))
		}
		if len(parts) > 0 {
			names = append(names, strings.Join(parts, ", "))
		}
	}
	return strings.Join(slices.Compact(names), " and ")
}
