package config

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// texts are all keys that hold free text, an index in place of each list's.
func texts(t reflect.Type, key string, tag reflect.StructTag, tell func(key string, tag reflect.StructTag)) {
	switch {
	case t.Kind() == reflect.Slice:
		texts(t.Elem(), key+"[0]", tag, tell)
	case t.Kind() == reflect.Struct:
		for _, k := range keysOf(t) {
			f, _ := fieldOf(t, k)
			texts(f.Type, strings.TrimPrefix(key+"."+k, "."), f.Tag, tell)
		}
	case t.Kind() == reflect.String && tag.Get("allowed") == "":
		tell(key, tag)
	}
}

// TestEveryTextIsAFileOrIsNone walks the types: of a key that is added somebody must say whether what it holds is opened, or run.
func TestEveryTextIsAFileOrIsNone(t *testing.T) {
	t.Parallel()
	noFile := []string{"network.subscriber_interfaces[0]", "network.upstream_interfaces[0]", "network.addresses[0].interface", "network.addresses[0].address", "network.routes[0].to", "network.routes[0].via", "network.routes[0].interface", "identity.unmapped_plan", "identity.radius.listen",
		"plans[0].name", "defer.text", "clusters.known_good[0]", "syslog.targets[0].url", "notices.webhooks[0].name", "notices.webhooks[0].url",
		"notices.mail.smarthost", "notices.mail.user", "notices.mail.from", "notices.mail.to[0]", "evidence.organization", "evidence.contact",
		"admin.listen", "admin.timezone", "fleet.nats_url", "management.ipv4", "management.ipv4_gateway", "management.ipv6", "management.ipv6_gateway", "management.dns[0]", "ntp.servers[0]"}
	var seen []string
	files := 0
	texts(reflect.TypeFor[Config](), "", "", func(key string, tag reflect.StructTag) {
		if tag.Get("names") == "file" {
			files++
			return
		}
		seen = append(seen, key)
		if !slices.Contains(noFile, key) {
			t.Errorf(`%s holds text: tag it names:"file" if that is a path, or list it here`, key)
		}
	})
	for _, key := range noFile {
		if !slices.Contains(seen, key) {
			t.Errorf("%s is listed here, but is no text, or names a file", key)
		}
	}
	if files == 0 {
		t.Error("no key names a file")
	}
}

// Whatever key names it, a file that the box does not name there is foreign, whatever other key the box names it with; one that it names there is not.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	texts(reflect.TypeFor[Config](), "", "", func(key string, tag reflect.StructTag) {
		if tag.Get("names") != "file" {
			return
		}
		naming := func(path string) *Config {
			c := Default()
			c.path = filepath.Join("/etc/mailweir", "config")
			set(t, reflect.ValueOf(c).Elem(), key, path)
			return c
		}
		box := naming("mine/own.file")
		for path, foreign := range map[string]bool{
			"mine/own.file": false, "/etc/mailweir/mine/./own.file": false, "": false,
			"own.file": true, "/var/lib/mailweir/admin.token": true, "../../etc/shadow": true, "mine/own.file/../other": true,
		} {
			found := naming(path).Foreign(box)
			if foreign != (len(found) == 1) || foreign && found[0].Key != key {
				t.Errorf("%s: %q: %v", key, path, found)
			}
		}
		if found := naming("mine/own.file").Foreign(Default()); len(found) != 1 {
			t.Errorf("%s, of which the box names nothing: %v", key, found)
		}
		elsewhere := Default()
		elsewhere.path = box.path
		at := "identity.radius.secret_file"
		if key == at {
			at = "fleet.credentials_file"
		}
		set(t, reflect.ValueOf(elsewhere).Elem(), at, "mine/own.file")
		if found := box.Foreign(elsewhere); len(found) != 1 {
			t.Errorf("%s, which the box names as %s: %v", key, at, found)
		}
	})
	c, err := Parse("/etc/mailweir/config", []byte("mode: enforce\n"))
	if err != nil {
		t.Fatal(err)
	}
	if found := c.Foreign(&Config{path: "/etc/mailweir/mailweir.yaml"}); len(found) > 0 {
		t.Errorf("who names nothing: %v", found)
	}
	c, err = Parse("/etc/mailweir/config", []byte("mode: enforce\nsyslog:\n  targets:\n    - {url: \"tls://192.0.2.1\"}\n    - {url: \"tls://192.0.2.2\", ca_file: /etc/shadow}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if found := c.Foreign(Default()); len(found) != 1 || found[0].Key != "syslog.targets[1].ca_file" || found[0].Line != 5 {
		t.Errorf("%v", found)
	}
}

// set puts a text at a key, in the first item of its lists.
func set(t *testing.T, v reflect.Value, key, text string) {
	t.Helper()
	for name := range strings.SplitSeq(key, ".") {
		name, list := strings.CutSuffix(name, "[0]")
		f, ok := fieldOf(v.Type(), name)
		if !ok {
			t.Fatalf("there is no %s", key)
		}
		if v = v.FieldByIndex(f.Index); list {
			if v.Len() == 0 {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			}
			v = v.Index(0)
		}
	}
	v.SetString(text)
}
