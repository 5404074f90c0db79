package capture

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// overflow is the number by which the kernel shows a user who has none in a user
// namespace (user_namespaces(7)), if the system does not set another.
const overflow = 65534

// distinct returns an error if a user can't be told from others: in a user namespace all
// users that it does not know have one number.
func distinct(uid uint32) error {
	shown := uint32(overflow)
	if text, err := os.ReadFile("/proc/sys/kernel/overflowuid"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil {
			shown = uint32(n)
		}
	}
	if uid != shown {
		return nil
	}
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("watch: whether user %d is one user can't be seen: %w", uid, err)
	}
	if wholeMap(string(text)) {
		return nil
	}
	return fmt.Errorf("watch: in this user namespace %d stands for every user without a number of its own, so your connections can't be told from others': %w", uid, errors.ErrUnsupported)
}

// wholeMap reports whether a user namespace knows all users by their own numbers.
func wholeMap(uidMap string) bool {
	f := strings.Fields(uidMap)
	return len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}
