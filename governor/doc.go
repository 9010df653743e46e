// Package governor decides what a subscriber may do: budgets, stages and the decision on each session. It does no I/O,
// starts no goroutine and reads no clock; the caller gives the time and carries out what is decided.
//
// # Budgets
//
// A budget is a bucket of tokens: `{of: sessions, limit: 20, per: 1h, burst: 5}` holds five, each session takes one, and
// one comes back every three minutes (per/limit) until it is whole again. So a subscriber may begin five sessions at
// once and twenty in the long run of an hour, and never more than limit plus burst in any hour. A subscriber may have
// several budgets, also several windows of one kind; every one of them is asked on its own, the strictest answer
// counts, and a session is charged to all of them or to none. concurrent_sessions has no window: it is the number of
// sessions that really run.
//
// When a session begins, each budget must have room for one more: sessions is charged one; destinations too, for a network
// that it does not know; the others (handshakes, failures, messages, recipients, rejected) are charged nothing yet, but
// when it happens. What a running session does is charged even where it does not fit, up to one burst beyond full; that
// debt is paid by time before the next session fits.
//
// destinations counts distinct destination networks. One that was charged is known for a whole window: sessions to it
// cost this budget nothing, are never refused by it and never wait for it, even if it is empty. Then it is charged anew,
// however often it was used meanwhile, so that never more than limit plus burst are charged in a window (those charged in the window before may be used once more in it). As many
// are remembered for each budget, at most 2000 (MaxDestinations), and looked through one by one. IPv4 networks are told
// apart exactly. IPv6 networks are kept as a hash of 32 bits: a new one passes for one of n known ones, and is not
// counted, with a probability of n/2^32, which is less than one in two million. Where the network is not known (no
// prefix is given), destinations is not asked.
//
// rejected counts the answers 5xx of the server to MAIL, RCPT or a message, in clear, beyond a share of one in ten: every
// one costs a token, and every recipient accepted gives back a ninth of one, never beyond whole. Answers 4xx are not
// counted, since greylisting is lawful.
//
// A session that never comes about, because its TCP handshake does not finish, is given back (Withdraw), so that forged
// SYNs cannot spend a neighbour's budget for good. Given back is what is certainly still used of it: as much as was used
// all the time since, at the least. So whatever is withdrawn, of the sessions that came about never more than limit plus
// burst lie in a window; where many others began since, less may come back than could. A network is given back when
// every session to it since it was charged was withdrawn.
//
// Messages that nobody saw but an estimate (SpendEstimated) are charged like all others, and so defer. What is certain of
// a budget of messages is kept apart, as a second bucket to which no estimate is charged: only who is over that one presses
// this budget, and is cut by it, as if there were no estimates.
//
// The figures shown are whole tokens, rounded up, of the burst: "sessions 4/5 at once, 20 per 1h (80%)". Per cent are
// rounded down. The thresholds of the ladder are compared with these very figures.
//
// # What happens to a session
//
//   - It fits, and the budget is below warn_at: pass.
//   - It fits, from warn_at on: pass, and a record says warn.
//   - It fits, beyond pace_at: the server's next reply waits until what is used has come back down to pace_at, but at
//     most pace_max. In a running session the replies to its messages wait in the same way. Concurrent sessions alone
//     never make anybody wait, they only warn.
//   - It does not fit (more than defer_at of the burst would be used): defer. The time to retry is exact: it fits then
//     and not a nanosecond before, unless more is tried meanwhile. For concurrent sessions it is 30 s, since nobody
//     knows when a session ends.
//   - A session that does not fit costs no budget. It adds one to the budget's pressure, a second count that drains as
//     fast as the budget refills, and the figure shown is then used + this one + pressure: "sessions 15/5 at once, 20 per
//     1h (300%)". At cut_at the subscriber is cut for cut_for, and the pressure is forgotten. Pressure is counted up to
//     a hundred times the burst. Concurrent sessions have none: they cannot cut.
//   - A retry is a denied attempt to a destination network that this subscriber was denied before. It adds no pressure
//     and never cuts, as long as it comes at a mail server's pace: to one network 20 at once, and then six while a token
//     of the budget that denies comes back (of several, the slowest), but never fewer than one in 15 s, which is
//     Postfix's 20 in five minutes; to all networks together three times as much, first attempts counted. Beyond that
//     it is hammering, and presses. So a queue that is tried again every some minutes never brings its sender a cut, and
//     a bot in a home's plan that calls one server, or ten, 96 times a minute is cut within a minute. The 256 networks denied
//     last, by a cut too, are remembered, each until it was left alone for a day; where very many subscribers are denied very
//     many networks, fewer, but 16 for sure. Decision.Retry tells.
//   - First attempts press, so a queue that is new has a bound: for fewer networks than cut_at allows attempts beyond a
//     full budget, burst * (cut_at/100 - 1) of them, it is never cut: up to 9 in the residential preset. Where that is more
//     than may be retried at once it is somewhat fewer: 103 in the preset hosting. TestAQueueForSoManyNetworksIsNeverCut.
//
// A plan's highest_stage caps all of it: below cut, pressure does nothing; with pace, what does not fit waits as long as
// it would have to, but at most pace_max, and then passes; with warn and observe it passes. What passes so is charged up
// to the full bucket; the rest is pressure, so that the figures stay true.
//
// # Promises
//
// A session within budget is never refused, whatever the stage: it may have to wait, at most pace_max. The one exception
// is a cut, which lasts as long as it was said to. Nobody is cut, and no running session is ended, for anything but
// attempts to begin sessions beyond a budget of a window, made again and again up to cut_at: concurrent sessions defer at
// most, because the sessions that run are within that budget; and what is found inside a session (messages, failures)
// defers the next one, and cuts only who presses on.
//
// # Stages
//
// The stage tells where a subscriber stands: observe, warn, pace, defer, cut. It goes up at once, to what the fullest
// budget calls for: warn and pace by their thresholds, defer when something did not fit, cut by pressure. It comes down
// by itself: from defer when every budget is below pace_at, from pace when every one is below warn_at, both not before
// 30 s after the last attempt that called for it (release_after if that is shorter); from warn after release_after below
// warn_at; from cut when its time is over. Calm after a cut is counted from its end. A case number is opened when the
// stage reaches pace and closed when it is observe again.
//
// # Mode observe
//
// Everything is decided in the same way and then every session passes: Decision.Acted is false and Effective is pass.
// So more sessions run than the figures of concurrent_sessions would allow, and they are counted. When the mode changes
// to enforce, what was used stays used, but pressure is forgotten and cuts end: nobody had told these senders to stop.
//
// # Exemptions
//
// An exemption is mode observe for one subscriber: everything is counted and decided as ever, and then passes.
// Decision.Exemption is its reason, and the mode of its decisions, changes and report is observe. It needs a reason and
// an end, at most 366 days away, on the governor's own clock: no step of the wall clock ends or prolongs it. When it
// ends, by time or by hand, what was used stays used, pressure and retries are forgotten and a cut ends, as from mode
// observe to enforce. A subscriber with an exemption is never forgotten.
//
// # Releases
//
// A release by hand forgives everything, and can be taken back for a quarter of an hour (Unrelease). Until then the
// subscriber is kept a second time, as if it had not been released, and whatever is charged is charged to both; taking it
// back puts the second one in the place of the first. So nothing is reckoned backwards: budgets have refilled, calm has begun
// and cuts have ended as they would have. What the box would have refused meanwhile, it did not: that ran, and is charged.
//
// # Who is known
//
// Subscribers are known from their first session on until everything of theirs is whole, calm and forgotten; at most
// MaxSubscribers, of which strangers (Attempt.Unlisted) may be a quarter, and have none of the last 64th. Beyond, sessions
// pass uncounted. Anybody can forge strangers: when they have three quarters of their room, or the table is nearly full,
// those of whom no session ever came about are forgotten within half a minute of the last one's Withdraw, whatever their
// stage, and of the others those who are at stage warn and have nothing in use; a StageChange tells. So forged sources
// keep out no new one for longer than that, and push out nobody who sent.
//
// A subscriber takes 128 bytes in the table, which holds up to seven budgets with a window and two networks each, and up
// to 24 bytes in its index. Only who was over something, is exempt, knows more networks or has more budgets takes more
// beside it: some 400 bytes, 32 for each network denied, 216 for each of up to 50 decisions. Networks denied beyond 16 are
// at most 524,288 of all lines together, and 65,536 of all strangers; decisions 49,152 and 16,384, and where there are as many,
// whoever has the most gives one for a new one. So all strangers there can be, 262,144, each
// denied as many networks as he likes, come to 270 MB. The table grows by 2048 subscribers or by one bucket of the index at a time, which takes some tens of
// microseconds.
//
// # Time
//
// Budgets run on a clock that only goes forward (see Restore for what happens between two lives). After a power cut at
// most what happened since the last save is missing, in the subscriber's favour. Running sessions and what Explain
// remembers of decisions are not restored.
package governor
