package privilege

import (
	"errors"
	"os/user"
	"strconv"
	"strings"
)

// specMax is the longest USER[:GROUP] that is looked up, in bytes: more than two of
// the longest names that Linux allows.
const specMax = 255

// noID is the number that is no user and no group: to system calls it means "leave it".
const noID = 1<<32 - 1

// Lookup finds the user that USER or USER:GROUP names. USER and GROUP are names, or
// decimal numbers from 0 to 4294967294; a word of digits is always a number.
//
// USER alone stands for the user with its primary and supplementary groups, as
// /etc/passwd and /etc/group have them; a number must be in /etc/passwd too, as its
// groups are not known otherwise. With GROUP that is the only group, and a number need
// not be in either file.
//
// The error is an [*Error].
func Lookup(spec string) (Credentials, error) {
	c, err := lookup(spec)
	if err != nil {
		return Credentials{}, &Error{User: spec, Err: err.err, Advice: err.advice}
	}
	return c, nil
}

func lookup(spec string) (Credentials, *failure) {
	if fail := supported(); fail != nil {
		return Credentials{}, fail
	}
	w, fail := splitSpec(spec)
	if fail != nil {
		return Credentials{}, fail
	}
	c := Credentials{User: spec}
	if w.group == "" {
		c.UID, c.GID, c.Groups, fail = lookupAll(w.user)
		return c, fail
	}
	if c.UID, fail = userID(w.user); fail != nil {
		return c, fail
	}
	c.GID, fail = groupID(w.group)
	c.Groups = []uint32{c.GID}
	return c, fail
}

// words are the two parts of USER[:GROUP].
type words struct {
	user  string
	group string // "": not given
}

func splitSpec(spec string) (words, *failure) {
	const form = "write USER or USER:GROUP, each a name or a number"
	user, group, hasGroup := strings.Cut(spec, ":")
	switch {
	case len(spec) > specMax:
		return words{}, failed(form, "it is longer than %d bytes", specMax)
	case user == "":
		return words{}, failed(form, "there is no user in it")
	case hasGroup && group == "":
		return words{}, failed(form, "there is no group after the colon")
	case strings.Contains(group, ":"):
		return words{}, failed(form, "there are two colons in it")
	case strings.ContainsFunc(spec, isControl):
		return words{}, failed(form, "there is a control character in it")
	}
	return words{user, group}, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// isNumber reports whether a word is a number and not a name.
func isNumber(word string) bool { return strings.Trim(word, "0123456789") == "" }

// parseID returns the id that a decimal number is.
func parseID(number string) (uint32, *failure) {
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == noID {
		return 0, failed("", "%s is not the number of a user or group: they go from 0 to %d", number, uint32(noID-1))
	}
	return uint32(n), nil
}

// lookupAll returns the user with its groups.
func lookupAll(name string) (uid, gid uint32, groups []uint32, fail *failure) {
	u, fail := findUser(name)
	if fail != nil {
		return 0, 0, nil, fail
	}
	numbers, err := u.GroupIds()
	if err != nil {
		return 0, 0, nil, failed("", "look up its groups: %w", err)
	}
	ids, fail := parseIDs(append([]string{u.Uid, u.Gid}, numbers...))
	if fail != nil {
		return 0, 0, nil, fail
	}
	return ids[0], ids[1], ids[2:], nil
}

func parseIDs(numbers []string) ([]uint32, *failure) {
	ids := make([]uint32, len(numbers))
	for i, n := range numbers {
		var fail *failure
		if ids[i], fail = parseID(n); fail != nil {
			return nil, fail
		}
	}
	return ids, nil
}

// findUser returns what /etc/passwd has about a user.
func findUser(word string) (*user.User, *failure) {
	find, advice := user.Lookup, "name one of /etc/passwd, or give numbers: UID:GID"
	if isNumber(word) {
		id, fail := parseID(word)
		if fail != nil {
			return nil, fail
		}
		word = strconv.FormatUint(uint64(id), 10) // as the file has it, without leading zeros
		find, advice = user.LookupId, "give its group too: "+word+":GID"
	}
	u, err := find(word)
	if err != nil {
		return nil, notFound(err, advice)
	}
	return u, nil
}

// userID returns the number of a user.
func userID(word string) (uint32, *failure) {
	if isNumber(word) {
		return parseID(word)
	}
	u, fail := findUser(word)
	if fail != nil {
		return 0, fail
	}
	return parseID(u.Uid)
}

// groupID returns the number of a group.
func groupID(word string) (uint32, *failure) {
	if isNumber(word) {
		return parseID(word)
	}
	g, err := user.LookupGroup(word)
	if err != nil {
		return 0, notFound(err, "name one of /etc/group, or give its number")
	}
	return parseID(g.Gid)
}

// notFound returns the failure of a look-up. The library's own words would repeat
// what the message around them says.
func notFound(err error, advice string) *failure {
	if _, ok := errors.AsType[user.UnknownGroupError](err); ok {
		return failed(advice, "there is no such group")
	}
	_, byName := errors.AsType[user.UnknownUserError](err)
	_, byNumber := errors.AsType[user.UnknownUserIdError](err)
	if byName || byNumber {
		return failed(advice, "there is no such user")
	}
	return failed("", "look it up: %w", err)
}
