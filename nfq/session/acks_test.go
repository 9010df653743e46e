package session

import "testing"

// A segment that is sent again carries a later acknowledgement number than when it was first sent: its bytes have no later one than those behind them, which were sent after them.
func TestASegmentThatIsSentAgainIsNoLaterThanWhatIsBehindIt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why      string
		segments [][2]int64 // from, acknowledged
		want     map[int64]int64
	}{
		{"in order", [][2]int64{{0, 10}, {100, 20}, {200, 30}}, map[int64]int64{0: 10, 99: 10, 100: 20, 199: 20, 200: 30}},
		{"the middle was lost and comes last", [][2]int64{{0, 10}, {200, 30}, {100, 40}}, map[int64]int64{0: 10, 100: 30, 199: 30, 200: 30}},
		{"the first was lost and comes last", [][2]int64{{100, 20}, {200, 30}, {0, 40}}, map[int64]int64{0: 20, 100: 20, 200: 30}},
		{"one comes again that was there", [][2]int64{{0, 10}, {100, 20}, {200, 30}, {100, 40}}, map[int64]int64{0: 10, 100: 20, 200: 30}},
		{"only late, not sent again", [][2]int64{{0, 10}, {200, 30}, {100, 20}}, map[int64]int64{0: 10, 100: 20, 200: 30}},
	} {
		var a acks
		for _, s := range row.segments {
			if !a.segment(s[0], s[1], 0) {
				t.Fatalf("%s: no room", row.why)
			}
		}
		for off, want := range row.want {
			if got := a.of(off); got != want {
				t.Errorf("%s: byte %d came with %d, want %d", row.why, off, got, want)
			}
		}
	}
}
