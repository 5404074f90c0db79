// Package small has the small services: the lecture's upper, and the ones that
// every Internet host once offered: echo, discard, chargen, daytime, time and
// quote of the day.
//
//	service        RFC   port   TCP   UDP   what it says
//	[Echo]         862      7   yes   yes   what it hears
//	[Upper]               (a)   yes         what it hears, a to z as A to Z
//	[Discard]      863      9   yes   yes   nothing
//	[Chargen]      864     19   yes   yes   the printable characters, over and over
//	[Daytime]      867     13   yes   yes   the time, for people
//	[Time]         868     37   yes   yes   the time, for programs
//	[QOTD]         865     17   yes   yes   a quote, another one each day
//
// (a) The lecture runs it on port 15213.
//
// Over TCP, TLS and Unix sockets they are sessions without I/O: what one says is a
// function of what it heard and of the time it was told. They look at no peer, so
// nothing needs to be set up; the zero value of each is ready to use.
//
// # Datagrams
//
// A datagram service answers whoever is named as the sender, and that name is
// easily forged. So that none of these can be made to send a third party more than
// the forger sent, no answer is longer than the request or 18 bytes, whichever is
// more (an Ethernet frame is padded to that anyway). Echo and time cannot exceed
// it; chargen, daytime and qotd choose an answer that fits. A client that wants a
// longer one sends a longer request.
package small

// leastAnswer is the length, in bytes, that an answer to any datagram may have: the
// smallest payload of an Ethernet frame, 46 bytes, less the headers of IPv4 and UDP.
const leastAnswer = 18

// longestAnswer returns how many bytes the answer to request may have.
func longestAnswer(request []byte) int { return max(len(request), leastAnswer) }
