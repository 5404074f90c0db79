package sock

import (
	"os"
	"strconv"
	"strings"
)

// backlogInForce returns what the kernel makes of a backlog: it bounds it without a
// word, and 0 asks for that bound (listen(2)).
func backlogInForce(asked int) int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return asked
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return asked
	}
	if asked <= 0 {
		return most
	}
	return min(asked, most)
}

// whoListens returns the command that shows who holds the port of a.
func whoListens(a Address) string {
	sockets := "ss -ltnp"
	if a.Network == "udp" {
		sockets = "ss -lunp"
	}
	return sockets + " sport = :" + strconv.Itoa(int(a.Port))
}
