// Package radius hears RADIUS accounting (RFC 2866) and says which session of which line holds which addresses. It is no
// RADIUS server: it knows nobody, keeps no session and writes nothing down; each Accounting-Request becomes one Event for the
// caller, and its answer says that the caller took it.
//
// # What is read
//
// Acct-Status-Type Start, Interim-Update, Stop, Accounting-On and Accounting-Off. Of a session: Acct-Session-Id, User-Name,
// Calling-Station-Id (RFC 2865), NAS-Port-Id and Event-Timestamp (RFC 2869), Agent-Circuit-Id and Agent-Remote-Id (RFC
// 4679), Framed-IP-Address (RFC 2865), Framed-IPv6-Prefix (RFC 3162), Delegated-IPv6-Prefix (RFC 4818), Framed-IPv6-Address
// (RFC 6911). Every other attribute is passed over. Framed-IP-Netmask is, too: where customers get addresses of one shared
// network it tells that network's mask, and their neighbours are in it. A value that cannot be what it should (an IPv4
// address of five octets, a prefix shorter than a provider would give one line) is passed over and counted; the rest of its
// packet stands.
//
// # Who is believed
//
// Whoever has the secret may speak for any NAS and any line. Before it is compared, the source must be in the list of
// clients; without such a list anybody is heard out, and then the secret is all there is. The authenticator of RFC 2866
// section 3 is MD5 over the packet and the secret, so the network between a NAS and the box has to be the provider's own. A
// Message-Authenticator (RFC 3579 section 3.2) is checked where there is one. Status-Server (RFC 5997), by which other
// RADIUS servers ask whether we live, needs one.
//
// A packet that is played back is told from a new one by its time: Event-Timestamp says when it happened, and what happened
// more than MaxAge ago, or is more than MaxAhead to come, is not taken. Within that time the caller compares Event.At with
// what it knows, and a session that has ended stays ended. The packets of
// a NAS that sends no Event-Timestamp happen when they arrive, less Acct-Delay-Time; of them the very same packet, from
// wherever, is not taken again within MaxAge, as far as that is remembered: of each worker the last 32,768 and at most twice
// as many, and nothing over a restart. Options.Dated does not hear them at all. A NAS whose clock is wrong by more is not heard until it is set; Stats
// and the log say so. The exact copy of a packet with an Event-Timestamp (same NAS and
// authenticator, within 30 s) is answered again and not taken again; of each worker the last 8192 requests, and at most
// twice as many, are remembered for that. Of both kinds copies are counted as repeated.
//
// # Order, and what may be lost
//
// One goroutine reads and checks, two workers call Options.Handle and answer. What one NAS says stays with one worker and in
// the order of arrival. Up to 1024 requests wait for their worker in each queue; what comes when it is full is dropped
// unanswered and counted, and so is what the kernel drops before it is read. A NAS repeats what is not answered (RFC 2866
// section 2), so that loses time, not sessions. A forged datagram never takes a place in a queue and costs some 5 us, but one
// that comes faster than that takes the genuine ones' place in the socket: the port has to be out of the subscribers' reach.
//
// # What is answered
//
// Everything genuine, so that no NAS repeats for ever what will never be wanted, with three exceptions: Handle failed; there
// was no room; or it is to happen in the future, which is more likely our clock that is wrong, in its first minute, and then
// a repetition helps. What is not genuine (an unknown source, a wrong secret, a damaged packet) gets no answer, as RFC 2865
// section 3 wants it.
package radius
