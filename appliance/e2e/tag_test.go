package e2e

import (
	"testing"

	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// tag makes an interface send and take its frames with VLAN tags, the outer first: 0x81000007 is VLAN 7 of 802.1Q.
func tag(t *testing.T, at *lab.Namespace, dev string, tags ...uint32) (undo func()) {
	t.Helper()
	var end func() error
	check(t, at.Do(func() (err error) { end, err = nfqtest.Tag(dev, tags...); return err }))
	undo = func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(undo)
	return undo
}
