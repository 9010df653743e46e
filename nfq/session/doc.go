// Package session follows one SMTP session from TCP segments to events: pure, no clock, no IO.
//
// A Tracker takes the segments of both directions in the order of arrival and
// puts each direction in order within a bounded window (stream.go, segment.go).
// In clear it reads commands and replies line by line (RFC 5321, PIPELINING of
// RFC 2920, CHUNKING of RFC 3030) and matches them (client.go, server.go). After
// STARTTLS (RFC 3207), or from the start on a TLS port, it reads the ClientHello
// and then only record headers until the handshake is decided (tls.go). After it the
// server's records tell how many messages there can have been (sealed.go, estimate.go).
//
// # Whose word counts
//
// The client may be hostile, the server it talks to seldom is. What was
// accepted is therefore counted by the server's replies, never by what the client
// said: a 354 and the final reply after it are a message whatever we understood of
// the commands before, and so is the reply to the last BDAT. The server's
// acknowledgement numbers say what it read. The client's are believed only about
// bytes that we saw. A RST, whoever seems to send it, is believed at the exact
// number only, and only until the session goes on. What looks like TLS is a command
// line if the server answers it in clear, and what a SYN carries was said if the
// server acknowledges it.
//
// # What we do not see
//
// From a 354 on, and for most of a large BDAT chunk, Release lets the kernel
// pass the client's bytes; the reply that ends the content takes the release
// back. Commands pipelined behind the content are then known only by their replies
// (unseen.go). A hole that nobody released is a gap: an event, not a stall.
// Behind it nothing is invented; Facts says how many messages there were at
// least and at most.
//
// A session found in mid-air is followed from the server's next reply on. It is
// Unknown, and there is no upper bound.
//
// # Not seen by design
//
// Checksums: the kernel's connection tracking verified them, or the packet must
// not be given to us. Renegotiation, TURN, BURL and a DATA that a server answers
// without a 354 are not followed.
package session
