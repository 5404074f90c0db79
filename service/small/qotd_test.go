package small_test

import (
	"strings"
	"testing"
	"time"

	"yodel/service/small"
	"yodel/yodeltest"
)

func quoteAt(t *testing.T, now time.Time) string {
	t.Helper()
	talk := yodeltest.NewTalk(t, small.QOTD{}, peer)
	talk.SetTime(now)
	return talk.Drain(1000)
}

func TestQOTDChangesAtMidnight(t *testing.T) {
	t.Parallel()
	morning := at(t, "2026-03-01T00:00:00Z")
	today := quoteAt(t, morning)
	if got := quoteAt(t, at(t, "2026-03-01T23:59:59Z")); got != today {
		t.Errorf("the quote of one day is %q and %q", today, got)
	}
	if got := quoteAt(t, at(t, "2026-03-01T22:00:00-05:00")); got == today {
		t.Error("the day is not that of UTC")
	}
	for _, text := range []string{"2026-02-28T23:59:59Z", "2026-03-02T00:00:00Z"} {
		if got := quoteAt(t, at(t, text)); got == today {
			t.Errorf("at %s it is still %q", text, got)
		}
	}
}

func TestQOTDKeepsToTheRFC(t *testing.T) {
	t.Parallel()
	first := at(t, "1969-12-01T12:00:00Z") // before the epoch, too
	long, short := map[string]bool{}, map[string]bool{}
	for day := range 365 {
		now := first.Add(time.Duration(day) * 24 * time.Hour)
		long[quoteAt(t, now)] = true
		short[string(small.QOTD{}.Reply(peer, now, nil, nil))] = true
		full := small.QOTD{}.Reply(peer, now, make([]byte, 512), nil)
		if string(full) != quoteAt(t, now) {
			t.Errorf("day %d: a long request gets %q, a connection %q", day, full, quoteAt(t, now))
		}
	}
	if len(long) != 11 || len(short) != 5 {
		t.Errorf("in a year there were %d quotes and %d short ones; want all 11 and 5", len(long), len(short))
	}
	for quote := range long {
		checkQuote(t, quote, 511) // RFC 865: less than 512 characters
	}
	for quote := range short {
		checkQuote(t, quote, 18)
	}
}

func checkQuote(t *testing.T, quote string, limit int) {
	t.Helper()
	if len(quote) > limit || !strings.HasSuffix(quote, "\r\n") {
		t.Errorf("%q: %d bytes, at most %d are allowed, and a CR LF at the end", quote, len(quote), limit)
	}
	for _, line := range strings.Split(strings.TrimSuffix(quote, "\r\n"), "\r\n") {
		printable := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) < 0
		if line == "" || !printable {
			t.Errorf("%q has a line that is empty or not printable ASCII", quote)
		}
	}
}
