package appliance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mailweir/mailweir/governor"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Of many who wait alike not those with the lowest ids are shown: whoever may not see ids would learn of them by who is there. Who is nearer to trouble comes first all the same,
// and who is shown does not change from one look to the next.
func TestWhoWaitsIsNotChosenByIDs(t *testing.T) {
	t.Parallel()
	look := func() (shown []string) {
		first := best[whoWaits]{most: waitingShown, compare: whoWaits.compare}
		for i := range 200 {
			b := governor.Brief{Subscriber: fmt.Sprintf("S-%03d", i), Stage: governor.StageWarn, Fullest: 0.5}
			if i == 150 {
				b.Stage = governor.StagePace
			}
			first.add(whoWaits{b, webadmin.Waiting{Subscriber: b.Subscriber}})
		}
		for _, w := range first.sorted() {
			shown = append(shown, w.Waiting.Subscriber)
		}
		return shown
	}
	shown := look()
	if len(shown) != waitingShown || shown[0] != "S-150" {
		t.Errorf("shown: %q", shown)
	}
	if slices.IsSorted(shown[1:]) || slices.Max(shown[1:]) < "S-020" { // by chance once in a million
		t.Errorf("those with the lowest ids are shown: %q", shown)
	}
	if again := look(); !slices.Equal(again, shown) {
		t.Errorf("%q, and then %q", shown, again)
	}
}
