package webadmin

import (
	"encoding/json"
	"testing"
)

// What changed the configuration is told from the records.
func TestRevisionsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	box := busyBox()
	audit := func(seq uint64, what, after string) Record {
		return Record{Seq: seq, At: At(noon), Kind: "AUDIT", Text: "anna 192.0.2.7: " + what, Params: []Param{{"who", "anna 192.0.2.7"}, {"what", what}, {"before", "mode: observe"}, {"after", after}}}
	}
	box.records = append([]Record{audit(904, "restore", "mode: observe (revision bb02, backup of 2026-11-18T11:00:00Z)"), audit(903, "subscribers", "12 subscribers (revision cc03)"), audit(902, "config", "mode: enforce (revision aa01)")}, box.records...)
	s := startServer(t, Options{Source: box})
	var v ConfigRevisions
	if err := json.NewDecoder(get(t, s, "/api/v1/config/revisions", "Authorization", "Bearer "+tokenOf(t, s)).Body).Decode(&v); err != nil || len(v.Items) != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	if first, second := v.Items[0], v.Items[1]; first.Revision != "bb02" || first.What != "restore" || second.Revision != "aa01" || second.After != "mode: enforce" || second.Before != "mode: observe" || second.Who != "anna 192.0.2.7" || second.Record != 902 {
		t.Errorf("%+v", v.Items)
	}
}
