package enginetest

// rows are what every engine must do.
var rows = []row{
	// What connections leave behind.
	{"short connections leave nothing", alone, tryNothingLeft},
	{"short connections of other kinds leave nothing", alone, tryNothingLeftElsewhere},

	// What a process has.
	{"A2 flood without descriptors", many | alone, tryFlood},
	{"A2 no descriptors", alone, tryNoDescriptors},
	{"A7 a line without an end", alone, tryEndlessLine},

	// Conversations.
	{"A8 in a dozen cuts nothing changes", 0, tryCuts},
	{"A8 in small buffers nothing changes", 0, trySmallBuffers},
	{"those that speak and end", services, tryOneShot},
	{"a generator goes on while it is read", services, tryChargen},
	{"ticks", services, tryTicks},
	{"lent memory is poisoned", services, tryPoison},
	{"a mistake of the peer's, and a fault", services, tryMistake},
	{"B4 half-close flushes ten megabytes", 0, tryHalfClose},

	// Events and sums.
	{"events of a connection", services, tryEvents},
	{"how long a client was not accepted", 0, tryQueued},
	{"who spoke with whom", 0, tryPair},
	{"every byte is accounted for", services, tryAccounts},

	// Limits, and what peers do.
	{"A1 slow message", services, trySlowMessage},
	{"A1 slow message that is taken in pieces", services, trySlowBody},
	{"A1 a person who waits is not cut", services, tryPerson},
	{"A1 idle", 0, tryIdle},
	{"A5 slow reader is not buffered, and cut", 0, trySlowReader},
	{"A5 others are served beside a slow reader", many, trySlowReaderAlone},
	{"A5 idle reader", services, tryIdleReader},
	{"A6 reset", 0, tryReset},
	{"A6 left without reading", services, tryLeaver},
	{"A6 reset storm", 0, tryResetStorm},
	{"A7 long message", services, tryLongMessage},
	{"A9 panic", services, tryPanic},
	{"A9 a session is told of its end, and panics", services, tryPanicAtEnd},
	{"A12 hostile text", services, tryHostileText},

	// The defaults, to the millisecond.
	{"A1 ten minutes of idleness", anyListener | services, tryIdleFigures},
	{"A1 ten seconds for a message", anyListener | services, tryMessageFigures},
	{"A1 a message waits for its peer to read", anyListener | services, tryMessageWaits},
	{"A5 500 bytes a second", anyListener | services, tryRateFigures},
	{"two seconds, 250 ms, ten seconds", anyListener | services, tryEndFigures},
	{"A10 an end that is not taken", anyListener | overTLS | services, tryUntakenEnd},
	{"door: work, idleness and rest", anyListener | door, tryDoorFigures},

	// Who is served.
	{"A2 those beyond MaxConns wait", 0, tryMaxConns},
	{"A2 MaxConns holds over all listeners", 0, tryMaxConnsOverall},
	{"A2 stopping while some wait for a place", 0, tryFullStop},
	{"A2 accept errors pass", anyListener, tryAcceptErrors},
	{"A2 fatal accept errors", anyListener, tryFatalAccept},
	{"A2 stopping while accept fails", anyListener, tryAcceptStuck},
	{"A2 refusals are logged once a second", 0, tryRefusedStorm},
	{"MaxPerIP", many | anyListener, tryPerAddress},
	{"Allow and Deny", 0, tryAllowDeny},
	{"B5 source port 20", 0, tryBounce},

	// Shutdown.
	{"Shutdown drains", 0, tryDrain},
	{"Shutdown waits for a message", services, tryDrainMessage},
	{"Shutdown waits for a message that is taken in pieces", services, tryDrainBody},
	{"Shutdown, then Close, of a busy connection", 0, tryShutdownBusy},
	{"Shutdown of nobody", 0, tryNobody},
	{"Close waits for all", services, tryClose},
	{"Close after the peer's end", services, tryCloseEnded},
	{"Serve after Close", 0, tryTooLate},
	{"two listeners", 0, tryTwoPlaces},

	// TLS.
	{"A10 conversations over TLS", overTLS | services, tryTLSTalks},
	{"A10 half a ClientHello", overTLS | services, tryHalfHello},
	{"A10 too many handshakes", overTLS | many | services, tryHandshakeCap},
	{"A10 what is not TLS", overTLS | services, tryNotTLS},
	{"A10 Shutdown during a handshake", overTLS | services, tryTLSShutdown},
	{"A10 slow reader over TLS", overTLS, tryTLSSlowReader},
	{"A10 openssl s_client", overTLS | services, tryOpenSSL},

	// The connection door.
	{"door: lines, deadlines, half-close", door, tryDoor},
	{"door: over TLS", door | overTLS, tryDoorTLS},
	{"door: idle", door, tryDoorIdle},
	{"door: A5 slow reader", door, tryDoorSlowReader},
	{"door: Shutdown", door, tryDoorDrain},
	{"door: Close", door, tryDoorClose},
	{"door: A9 panic", door, tryDoorPanic},
	{"door: A2 MaxConns", door | many, tryDoorMaxConns},
	{"door: net/http", door | many, tryHTTP},
	{"door: HTTP/2", door | overTLS, tryHTTP2},
	{"door: Close of net/http", door, tryHTTPClose},
}
