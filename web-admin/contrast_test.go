package webadmin

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The tones of the style sheet, by colour scheme.
func tones(t *testing.T) map[string]map[string]string {
	t.Helper()
	css, err := files.ReadFile("static/admin.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark colours in admin.css")
	}
	dark, _, _ = strings.Cut(dark, "*, *::before")
	read := func(block string) map[string]string {
		out := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(block, -1) {
			out[m[1]] = m[2]
		}
		return out
	}
	return map[string]map[string]string{"light": read(light), "dark": read(dark)}
}

// luminance and contrast are WCAG 2.2's.
func luminance(hex string) float64 {
	var sum float64
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v, err := strconv.ParseUint(hex[1+2*i:3+2*i], 16, 8)
		if err != nil {
			panic(err)
		}
		c := float64(v) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

func contrast(a, b string) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestTonesHaveContrast(t *testing.T) {
	t.Parallel()
	pairs := []struct {
		why    string
		tones  []string
		ground []string
		least  float64
	}{
		{"text", []string{"text", "muted", "accent"}, []string{"ground", "surface", "sunken"}, 4.5},
		{"a stage's word where it stands alone", []string{"observe", "warn", "pace", "defer", "cut", "good", "bad"}, []string{"ground", "surface", "sunken"}, 4.5},
		{"a button, the mode", []string{"on-accent"}, []string{"accent"}, 4.5},
		{"a cut", []string{"on-cut"}, []string{"cut"}, 4.5},
		{"warn on its own ground", []string{"warn"}, []string{"warn-soft"}, 4.5},
		{"pace on its own ground", []string{"pace"}, []string{"pace-soft"}, 4.5},
		{"defer on its own ground", []string{"defer"}, []string{"defer-soft"}, 4.5},
		{"bars and curves", []string{"muted", "pace", "cut", "accent", "starttls", "implicit"}, []string{"surface", "sunken"}, 3},
	}
	for scheme, tone := range tones(t) {
		for _, p := range pairs {
			for _, a := range p.tones {
				for _, b := range p.ground {
					if tone[a] == "" || tone[b] == "" {
						t.Fatalf("%s: no tone %s or %s", scheme, a, b)
					}
					if c := contrast(tone[a], tone[b]); c < p.least {
						t.Errorf("%s, %s: %s on %s has contrast %.2f, want %.1f", scheme, p.why, a, b, c, p.least)
					}
				}
			}
		}
	}
}

// Seen without red or green cones, and without any: the stages differ by their shapes and words, so two tones may look alike, but
// two shapes may not.
func TestEveryStageHasAWordAndAShapeOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, s := range stages {
		drawn := fmt.Sprint(shape(s))
		if drawn == "" {
			t.Errorf("%s has no shape", s)
		}
		if other, dup := seen[drawn]; dup {
			t.Errorf("%s and %s have one shape", s, other)
		}
		seen[drawn] = s
		if past[s] == "" {
			t.Errorf("%s has no word for what happens to mail", s)
		}
	}
}
