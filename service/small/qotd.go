package small

import (
	"io"
	"time"

	"yodel"
)

// QOTD says the quote of the day: RFC 865, port 17, TCP and UDP. Over TCP it says it
// at once, whatever the peer sends, and ends. The quote is the same for everybody
// and changes at midnight UTC; it has less than 512 characters, printable ASCII and
// CR LF alone, as the RFC recommends.
type QOTD struct{}

var (
	_ yodel.Service = QOTD{}
	_ yodel.Replier = QOTD{}
)

// The quotes are our own. Some have at most 18 bytes, for datagrams. They are never
// written to.
var (
	quotes = []string{
		"A read returns what has come,\r\nnot what was sent.\r\n",
		"The port was free when you looked.\r\n",
		"Every byte is somebody's; count them.\r\n",
		"A connection has two ends,\r\nand each of them believes the other is slow.\r\n",
		"Nobody answers faster than a cache,\r\nand nobody is wrong for longer.\r\n",
		"The backlog is patience, written as a number.\r\n",
		"Whoever says \"it cannot be the network\" has not asked the network.\r\n",
		"A time-out is an answer; it is only not the peer's.\r\n",
		"To close is to say: I have nothing to add.\r\nTo reset is to say: I have stopped listening.\r\n",
		"The first packet is hope; the second is a protocol.\r\n",
		"What is not bounded will be filled.\r\n",
	}
	shortQuotes = []string{
		"Flush, then go.\r\n",
		"Bytes, in order.\r\n",
		"Mind the port.\r\n",
		"Count to EOF.\r\n",
		"Close is polite.\r\n",
	}
)

// Open returns the session, which all connections share.
func (QOTD) Open(yodel.Peer) yodel.Session { return qotdSession{} }

type qotdSession struct{}

func (qotdSession) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	out.WriteString(quoteOf(in.Now, quotes))
	return len(in.Data), io.EOF
}

// Reply returns the quote that a connection gets where it is not longer than the
// request, and else a quote of at most 18 bytes. A quote is never cut.
func (QOTD) Reply(_ yodel.Peer, now time.Time, request, buf []byte) []byte {
	quote := quoteOf(now, quotes)
	if len(quote) > longestAnswer(request) {
		quote = quoteOf(now, shortQuotes)
	}
	return append(buf, quote...)
}

// quoteOf returns the one whose turn it is on the day of now, UTC.
func quoteOf(now time.Time, quotes []string) string {
	const day = 24 * 60 * 60
	return quotes[turn(now.Unix(), day*len(quotes))/day]
}
