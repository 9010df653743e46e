package webadmin

import (
	"testing"
	"time"
)

func TestTimesAsPeopleSayThem(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 9, 30, 0, 0, vienna)
	for text, want := range map[string]string{
		"":                          "2026-03-02 09:30:00",
		"03:12":                     "2026-03-02 03:12:00",
		"9:30":                      "2026-03-02 09:30:00",
		"09:31":                     "2026-03-01 09:31:00", // the last one
		"23:59:58":                  "2026-03-01 23:59:58",
		"today 03:12":               "2026-03-02 03:12:00",
		" Yesterday  03:12 ":        "2026-03-01 03:12:00",
		"2026-02-28 03:12":          "2026-02-28 03:12:00",
		"2025-12-31 23:59:59":       "2025-12-31 23:59:59",
		"28 Feb 03:12":              "2026-02-28 03:12:00",
		"18 nov 03:12":              "2025-11-18 03:12:00",
		"29 Feb 03:12":              "2024-02-29 03:12:00",
		"2026-02-28T03:12:00Z":      "2026-02-28 04:12:00",
		"2026-02-28T03:12:00+05:00": "2026-02-27 23:12:00",
		"today 09:31":               "", "2026-03-02 09:31": "", "2027-01-01T00:00:00Z": "", // not yet
		"tomorrow 03:12": "", "25:00": "", "yesterday": "", "2026-02-30 03:12": "", "31 Feb 03:12": "", "x": "", "03:12 yesterday": "", "3": "",
	} {
		got, err := ParsePast(text, now, vienna)
		if want == "" {
			if err == nil {
				t.Errorf("%q is read as %v", text, got)
			}
		} else if err != nil || got.In(vienna).Format(time.DateTime) != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestADayEndsAtMidnight(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for day, want := range map[string]string{
		"2026-11-21": "2026-11-22T00:00:00+01:00",
		"2026-12-31": "2027-01-01T00:00:00+01:00",
		"2026-10-25": "2026-10-26T00:00:00+01:00", // the day of 25 hours
		"2026-03-29": "2026-03-30T00:00:00+02:00", // and the one of 23
		"2026-02-29": "", "tomorrow": "", "": "",
	} {
		got, err := EndOfDay(day, berlin)
		if want == "" && err == nil || want != "" && (err != nil || got.Format(time.RFC3339) != want) {
			t.Errorf("%q: %v, %v, want %s", day, got, err, want)
		}
	}
}

// Where clocks are changed at midnight, a day begins at one, or twice.
func TestADayEndsWhereMidnightIsMissing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, day, want string }{
		{"America/Santiago", "2026-09-05", "2026-09-06T01:00:00-03:00"},
		{"America/Santiago", "2026-09-06", "2026-09-07T00:00:00-03:00"},
		{"America/Santiago", "2026-04-04", "2026-04-05T00:00:00-04:00"}, // its last hour comes twice
		{"America/Havana", "2026-03-07", "2026-03-08T01:00:00-04:00"},
		{"America/Havana", "2026-03-08", "2026-03-09T00:00:00-04:00"},
		{"America/Havana", "2026-10-31", "2026-11-01T00:00:00-04:00"}, // the first of two midnights
		{"Australia/Lord_Howe", "2026-10-04", "2026-10-05T00:00:00+11:00"},
		{"Asia/Kathmandu", "2026-10-04", "2026-10-05T00:00:00+05:45"},
	} {
		loc, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := EndOfDay(c.day, loc); err != nil || got.Format(time.RFC3339) != c.want {
			t.Errorf("%s in %s: %v, %v, want %s", c.day, c.zone, got, err, c.want)
		}
	}
}

func TestTheSearchBoxTakesAnAddressAtATime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"100.64.0.11 yesterday 03:12":           "100.64.0.11 2026-11-17T03:12:00+01:00",
		" ::ffff:100.64.0.11  2026-11-17 03:12": "100.64.0.11 2026-11-17T03:12:00+01:00",
		"2001:db8::7 03:12":                     "2001:db8::7 2026-11-18T03:12:00+01:00",
		"100.64.0.11":                           "", "Elm Street 12": "", "100.64.0.11 soon": "", "fe80::1%eth0 03:12": "", "100.64.0.0/24 03:12": "", "": "",
	} {
		addr, at, ok := addressAt(text, noon, vienna)
		got := ""
		if ok {
			got = addr.String() + " " + at.Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
