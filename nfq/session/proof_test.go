package session

import (
	"strings"
	"testing"
)

// What is in words that nobody knows proves a message only where the sizes of the client's commands fit, 354 was longer than OK, and the content was long.
func TestWhatProvesAMessageInWordsThatNobodyKnows(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why                   string
		data, more, up, reply int
		habits                habits
		want                  bool
	}{
		{"354 and a long content", 50, 0, 900, 40, stepwise, true},
		{"as long as OK: RSET or NOOP", 26, 0, 900, 40, stepwise, false},
		{"a short content: a token or an address", 50, 0, 300, 40, stepwise, false},
		{"sizes that say nothing", 50, 0, 900, 40, stepwise | irregular, false},
	} {
		g := guess{at: atData, habits: row.habits, mail: kind{last: 20}, rcpt: kind{last: 24}, data: kind{last: uint16(row.data)}}
		m := mover{framing: framing{add: 17}, from: &g}
		m.measure(&flight{up: int64(row.up), records: 1, down: row.reply, first: row.reply, end: row.reply})
		m.message(atTaken, usedData, row.reply, 0)
		got, found := false, false
		for _, to := range m.to.guesses[:m.to.n] {
			if to.messages == 1 {
				found = true
				got = to.habits&proved != 0
			}
		}
		if !found || got != row.want {
			t.Errorf("%s: taken %v, proved %v, want %v", row.why, found, got, row.want)
		}
	}
}

// A DATA alone proves nothing before its content, but in words that are known.
func TestADATAAloneProvesInKnownWords(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why              string
		mail, rcpt, data int
		want             bool
	}{
		{"OpenSMTPD", 14, 51, 50, true},
		{"nobody", 20, 24, 50, false},
	} {
		for _, h := range []habits{stepwise, stepwise | irregular} {
			g := guess{at: atRcpt, habits: h, mail: kind{last: uint16(row.mail)}, rcpt: kind{last: uint16(row.rcpt)}}
			m := mover{framing: framing{add: 17}, from: &g}
			m.measure(&flight{up: recordHeader + 17 + fourLetters, records: 1, down: row.data, first: row.data, end: row.data})
			m.envelope()
			found := false
			for _, to := range m.to.guesses[:m.to.n] {
				if to.at != atData || to.data.last == 0 {
					continue
				}
				found = true
				if got := to.habits&proved != 0; got != row.want {
					t.Errorf("%s, habits %b: proved %v, want %v", row.why, h, got, row.want)
				}
			}
			if !found {
				t.Errorf("%s: no guess that 354 was said", row.why)
			}
		}
	}
}

// A burst proves a message in the words of a server that is known alone, and not where its refusals are as long as what it says to a message.
func TestWhatProvesABurst(t *testing.T) {
	t.Parallel()
	exchange := uint8(len(voices) - 1)
	for _, row := range []struct {
		why   string
		voice uint8
		final int
		want  bool
	}{
		{"Postfix", postfix, 40, true},
		{"nobody", 0, 40, false},
		{"Exchange", exchange, 150, false},
	} {
		v := voices[row.voice]
		if row.voice == 0 {
			v = voice{mail: 20, rcpt: 24, data: 50}
		}
		g := guess{at: atIdle, voice: row.voice, mail: kind{last: uint16(v.mail)}, rcpt: kind{last: uint16(v.rcpt)}, data: kind{last: uint16(v.data)}, final: kind{last: uint16(row.final)}}
		f := flight{up: 9000}
		for range 10 {
			for _, n := range []int{v.mail, v.rcpt, v.data, row.final} {
				f.records++
				f.down += n
				f.tally.add(n)
			}
		}
		f.first, f.end = v.mail, row.final
		m := mover{framing: framing{add: 17}, from: &g}
		m.measure(&f)
		w, ok := g.words()
		if !ok {
			t.Fatalf("%s: the words are not known", row.why)
		}
		m.burstOf(&w, row.voice, 0)
		found := false
		for _, to := range m.to.guesses[:m.to.n] {
			found = true
			if got := to.habits&proved != 0 || to.messages > 0; got != row.want {
				t.Errorf("%s: %d messages, proved %v, want %v", row.why, to.messages, to.habits&proved != 0, row.want)
			}
		}
		if !found {
			t.Errorf("%s: no guess", row.why)
		}
	}
}

// Address probes that are answered in one record each, in words that nobody knows, prove nothing, although two of them are as long as what Exim says to an
// envelope, and to a message by BDAT.
func TestProbesInOneRecordProveNothing(t *testing.T) {
	t.Parallel()
	var r Recording
	if err := r.parse("17 +44:68 +301:95 +311:105 +319:105 +326:95 +313:95 +316:105 +312:95 +313:95 +326:105 +313:95 +28:26 hung-up"); err != nil {
		t.Fatal(err)
	}
	if lo, hi := r.estimate(); lo > 0 {
		t.Errorf("%d..%d messages", lo, hi)
	}
}

// An answer that is as long as one to BDAT LAST, behind an accepted RCPT, is a message only where the client goes on with MAIL: a refused RCPT with long parameters or an AUTH that comes
// too late is answered so, too, and then RSET has to follow.
func TestWhatLooksLikeBDATProvesAMessageWhereTheClientGoesOn(t *testing.T) {
	t.Parallel()
	const add = recordHeader + 17
	n := 0
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		for reply := v.chunkedLeast; reply <= v.chunkMost && reply > 0; reply++ {
			for _, up := range []int64{60, 120, 150, 300, 700, 1700} {
				for _, rounds := range []int{1, 2, 3, 5, 10} {
					for _, resets := range []bool{true, false} {
						flights := []flown{{add + 22, []int{140}}}
						for range rounds {
							flights = append(flights, flown{add + 40, []int{v.mail}}, flown{add + 35, []int{v.rcpt}}, flown{add + up, []int{reply}})
							if resets {
								flights = append(flights, flown{add + fourLetters, []int{v.reset}})
							}
						}
						flights = append(flights, flown{add + fourLetters, []int{v.quitLeast}})
						lo, hi := hear(false, flights...)
						if n++; resets && lo > 0 {
							t.Errorf("voice %d, %d bytes answered with %d, RSET, %d times: %d..%d", i, up, reply, rounds, lo, hi)
						}
						if up < surelyNoRcpt && lo > 0 {
							t.Errorf("voice %d, %d bytes, which may be a RCPT, answered with %d, %d times: %d..%d", i, up, reply, rounds, lo, hi)
						}
						auth := i == postfix && (reply == postfixNoAuth || reply == postfixLateAuth)
						if sure := up >= 700 && (!auth || rounds > 3) && !v.isEnvelope(reply) && !v.vague(true) && rounds > 2; !resets && sure && (lo < rounds-1 || hi < rounds) {
							t.Errorf("voice %d, %d messages of %d bytes, answered with %d: %d..%d", i, rounds, up, reply, lo, hi)
						}
					}
				}
			}
		}
	}
	t.Logf("%d sessions", n)
}

// Recipients that were taken behind one that was refused look like an envelope behind a message by BDAT: as many envelopes, each ended by RSET, are none.
func TestRecipientsBehindARefusedOneProveNothing(t *testing.T) {
	t.Parallel()
	const add = recordHeader + 17
	v := &voices[postfix]
	n := 0
	for _, recipients := range []string{"oro", "oroo", "orro", "ro", "roo", "rro", "oor", "ororo"} {
		for refusal := v.chunkedLeast; refusal <= v.chunkMost; refusal++ { // with an address in it
			for _, more := range []int64{9, 50, 100, 200, 550, 700} { // than that in the command: DSN parameters (RFC 3461)
				if more >= surelyNoRcpt && strings.Count(recipients, "or") > 1 {
					continue // that is what two messages in two envelopes look like
				}
				for _, rounds := range []int{1, 3, 10, 30} {
					flights := []flown{{add + 22, []int{140}}}
					for round := range rounds {
						flights = append(flights, flown{add + 40, []int{v.mail}})
						for _, r := range recipients {
							reply := v.chunkedLeast + (refusal-v.chunkedLeast+round)%(v.chunkMost-v.chunkedLeast+1)
							line := int64(35) + int64(round%5)
							if r == 'r' {
								line = int64(reply) + more
							} else {
								reply = v.rcpt
							}
							flights = append(flights, flown{add + line, []int{reply}})
						}
						flights = append(flights, flown{add + fourLetters, []int{v.reset}})
					}
					flights = append(flights, flown{add + fourLetters, []int{v.quitLeast}})
					n++
					if lo, hi := hear(false, flights...); lo > 0 {
						t.Errorf("%s, refused with %d bytes, commands %d longer, %d times: %d..%d", recipients, refusal, more, rounds, lo, hi)
					}
				}
			}
		}
	}
	t.Logf("%d sessions", n)
}

// An AUTH between MAIL and the message is refused, as long as a message by BDAT may be taken, however often it is said in one envelope.
func TestAnAUTHInAnEnvelopeProvesNothing(t *testing.T) {
	t.Parallel()
	const add = recordHeader + 17
	v := &voices[postfix]
	for _, refusal := range []int{postfixNoAuth, postfixLateAuth} {
		for _, token := range []int64{150, 350, 900, 1620, 3000} {
			for _, envelope := range []string{"ra", "rar", "rarr", "rarar", "rrarra", "rararar"} {
				for _, rounds := range []int{1, 3, 10, 30} {
					flights := []flown{{add + 22, []int{140}}}
					for range rounds {
						flights = append(flights, flown{add + 40, []int{v.mail}})
						for _, said := range envelope {
							line, reply := int64(35), v.rcpt
							if said == 'a' {
								line, reply = token, refusal
							}
							flights = append(flights, flown{add + line, []int{reply}})
						}
						flights = append(flights, flown{add + fourLetters, []int{v.reset}})
					}
					flights = append(flights, flown{add + fourLetters, []int{v.quitLeast}})
					if lo, hi := hear(false, flights...); lo > 0 {
						t.Errorf("%s, tokens of %d refused with %d bytes, %d times: %d..%d", envelope, token, refusal, rounds, lo, hi)
					}
				}
			}
		}
	}
}

// Where the server is known, OK is no 354: RSET is as long as DATA.
func TestOKIsNo354(t *testing.T) {
	t.Parallel()
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		for _, row := range []struct {
			why      string
			up, down int
			want     bool
		}{
			{"RSET", fourLetters, v.reset, false},
			{"DATA", fourLetters, v.data, true},
			{"RCPT and RSET", 35 + fourLetters, v.rcpt + v.reset, false},
			{"RCPT and DATA", 35 + fourLetters, v.rcpt + v.data, true},
		} {
			g := guess{at: atRcpt, voice: uint8(i), mail: kind{last: uint16(v.mail)}, rcpt: kind{last: uint16(v.rcpt)}}
			m := mover{framing: framing{add: 17}, from: &g}
			m.measure(&flight{up: recordHeader + 17 + int64(row.up), records: 1, down: row.down, first: row.down, end: row.down})
			m.envelope()
			got := false
			for _, to := range m.to.guesses[:m.to.n] {
				got = got || to.at == atData
			}
			if got != row.want {
				t.Errorf("voice %d, %s: 354 was said: %v", i, row.why, got)
			}
		}
	}
}

// HELP is as long as DATA and has a long answer, but another one than the 354 of a server that is known by its answers to MAIL and RCPT.
func TestHELPIsNoDATA(t *testing.T) {
	t.Parallel()
	const add = recordHeader + 17
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		for help := v.data + 5; help < 120; help += 11 {
			for _, refusal := range []int{28, 40, 45, 47} {
				flights := []flown{{add + 22, []int{140}}}
				for range 5 {
					flights = append(flights, flown{add + 40, []int{v.mail}}, flown{add + 35, []int{v.rcpt}}, flown{add + fourLetters, []int{help}},
						flown{add + 650, []int{refusal}}, flown{add + fourLetters, []int{v.reset}})
				}
				flights = append(flights, flown{add + fourLetters, []int{v.quitLeast}})
				if lo, hi := hear(false, flights...); lo > 0 {
					t.Errorf("voice %d, HELP answered with %d bytes, AUTH with %d: %d..%d", i, help, refusal, lo, hi)
				}
			}
		}
	}
}

// A server may answer MAIL and RCPT as another does that is known, and DATA in the words of RFC 5321, as Stalwart does: then it is as any that is not known.
func TestRFC5321sWordsBehindAnothersEnvelope(t *testing.T) {
	t.Parallel()
	const add = recordHeader + 17
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		if v.data == startMailInput { // these are its own
			continue
		}
		for _, n := range []int{1, 2, 20, 100} {
			flights := []flown{{add + 22, []int{140}}}
			for range n {
				flights = append(flights, flown{add + 40, []int{v.mail}}, flown{add + 35, []int{v.rcpt}}, flown{add + fourLetters, []int{startMailInput}}, flown{add + 5000, []int{52}})
			}
			flights = append(flights, flown{add + fourLetters, []int{v.quitLeast}})
			if lo, hi := hear(false, flights...); lo < n-1 || hi < n || hi > n+1 {
				t.Errorf("MAIL and RCPT answered with %d and %d bytes, %d messages: %d..%d", v.mail, v.rcpt, n, lo, hi)
			}
		}
	}
}
