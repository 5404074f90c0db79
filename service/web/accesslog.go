package web

import (
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"yodel/internal/escape"
)

// logLineMax is how much of a request line is logged, in bytes.
const logLineMax = 1 << 10

// logged is what a peer has said as a log may have it.
func logged(s string) string { return escape.StringN(s, logLineMax) }

// record is an answered request. line stands for method, target and proto where these are
// not known.
type record struct {
	method, target, proto string
	line                  string
	status                int
	bytes                 int64 // of the body
}

// account counts and logs what was answered to remote.
func (s *Server) account(remote string, rec record) {
	s.counts.requests.Add(1)
	s.counts.status[rec.status/100%6].Add(1)
	s.access.log(remote, time.Now(), &rec)
}

// accessLog writes the common log format: host ident user [time] "request" status bytes.
type accessLog struct {
	out    io.Writer // nil: nothing is logged
	report *slog.Logger
	failed atomic.Bool // reported once

	mu     sync.Mutex
	buf    []byte
	second int64  // of stamp
	stamp  string // the time as the format has it
}

func newAccessLog(out io.Writer, report *slog.Logger) *accessLog {
	return &accessLog{out: out, report: report}
}

func (l *accessLog) log(remote string, now time.Time, rec *record) {
	if l.out == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sec := now.Unix(); sec != l.second || l.stamp == "" {
		l.second, l.stamp = sec, now.Format("02/Jan/2006:15:04:05 -0700")
	}
	l.buf = appendCommon(l.buf[:0], remote, l.stamp, rec)
	if _, err := l.out.Write(l.buf); err != nil && !l.failed.Swap(true) {
		l.report.Error("the access log can't be written; requests are served and not logged", "error", err)
	}
}

// appendCommon appends the line for rec. Whatever a peer sends, it is one line of seven
// fields, and no byte of it moves a terminal.
func appendCommon(dst []byte, remote, stamp string, rec *record) []byte {
	dst = append(dst, hostOf(remote)...)
	dst = append(dst, " - - ["...)
	dst = append(dst, stamp...)
	dst = append(dst, `] "`...)
	if rec.method != "" {
		dst = appendQuoted(dst, rec.method)
		dst = append(dst, ' ')
		dst = appendQuoted(dst, rec.target)
		dst = append(dst, ' ')
		dst = appendQuoted(dst, rec.proto)
	} else {
		dst = appendQuoted(dst, rec.line)
	}
	dst = append(dst, `" `...)
	dst = strconv.AppendInt(dst, int64(rec.status), 10)
	dst = append(dst, ' ')
	if rec.bytes == 0 {
		return append(dst, "-\n"...)
	}
	dst = strconv.AppendInt(dst, rec.bytes, 10)
	return append(dst, '\n')
}

// appendQuoted appends what stands between quotation marks, so that none in it ends that.
func appendQuoted(dst []byte, s string) []byte {
	for part := range strings.SplitSeq(escape.StringN(s, logLineMax), `"`) {
		dst = append(dst, part...)
		dst = append(dst, `\"`...)
	}
	return dst[:len(dst)-2]
}

// hostOf returns the address without its port; "-" for a Unix socket, which has none.
func hostOf(remote string) string {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return "-"
	}
	return escape.String(addr.Addr().Unmap().String())
}
