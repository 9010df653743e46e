package governor

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Sum is a hash of what the policy says, whatever it was written like: plans in any order, defaults spelled out or left
// out. It is 64 hexadecimal digits and stays the same from one version of the box to the next.
func (p Policy) Sum() string {
	h := sha256.New()
	fmt.Fprintf(h, "mailweir policy 1\nmode %s\n", p.Mode)
	plans := slices.Clone(p.Plans)
	slices.SortStableFunc(plans, func(a, b Plan) int { return cmp.Compare(a.Name, b.Name) })
	for _, one := range plans {
		c := newPlan(one)
		l := c.ladder
		fmt.Fprintf(h, "plan %q highest %s warn %d pace %d defer %d cut %d pace_max %d cut_for %d release_after %d\n",
			c.name, c.highest, l.WarnAt, l.PaceAt, l.DeferAt, l.CutAt, l.PaceMax, l.CutFor, l.ReleaseAfter)
		for _, b := range c.limits {
			fmt.Fprintf(h, "%s %d per %d burst %d\n", b.Of, b.Limit, b.Per, b.Burst)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
