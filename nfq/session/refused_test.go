package session

import (
	"fmt"
	"testing"
)

// refusedSession is a session of n messages, each refused after its content with a reply of so many bytes, in the words of a voice.
func refusedSession(v *voice, n, reply int, grouped, resets bool) []flown {
	const add = recordHeader + 17
	flights := []flown{{add + 22, []int{140}}}
	for range n {
		if grouped {
			flights = append(flights, flown{add + 81, []int{v.mail + v.rcpt + v.data}})
		} else {
			flights = append(flights, flown{add + 40, []int{v.mail}}, flown{add + 35, []int{v.rcpt}}, flown{add + fourLetters, []int{v.data}})
		}
		flights = append(flights, flown{add + 3000, []int{reply}})
		if resets {
			flights = append(flights, flown{add + fourLetters, []int{v.reset}})
		}
	}
	return append(flights, flown{add + fourLetters, []int{v.quitLeast}})
}

// TestRefusalsAfterTheContentAreNoMessages: in the words of a server that is known, a refusal that is no acceptance by its length counts
// for nothing in lo, whether it is as long as an acceptance and one more reply or not.
func TestRefusalsAfterTheContentAreNoMessages(t *testing.T) {
	t.Parallel()
	cases, told := 0, map[string]bool{}
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		if v.vague(false) {
			continue // its acceptances have so many lengths that any refusal is as long as one
		}
		for reply := 20; reply <= 150; reply++ {
			if v.accepts(reply, 0, false) {
				continue
			}
			for _, grouped := range []bool{false, true} {
				for _, resets := range []bool{false, true} {
					for _, n := range []int{1, 2, 3, 5, 10, 20} {
						cases++
						if lo, hi := hear(false, refusedSession(v, n, reply, grouped, resets)...); lo > 0 {
							if name := fmt.Sprintf("voice %d, %d bytes, grouped %v, RSET %v", i, reply, grouped, resets); !told[name] {
								told[name] = true
								t.Errorf("%s: %d..%d of 0, %d refused", name, lo, hi, n)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d sessions", cases)
}
