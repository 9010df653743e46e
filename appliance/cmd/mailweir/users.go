package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

const usersUsage = "[setup-code | add NAME --role R | role NAME R | reset NAME | disable NAME | enable NAME | need-factor NAME | drop-factor NAME | end NAME | remove NAME]"

// usersCommand manages who may log in at the web admin.
func usersCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory of the running one")
	asJSON := c.flags.Bool("json", false, "print JSON, as the API's /users")
	role := c.flags.String("role", "", "of add: viewer, operator or admin")
	stdin := c.flags.Bool("password-stdin", false, "of add and reset: read the password from standard input instead of making one up")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	api := newClient(*data)
	do, name := "", ""
	if len(rest) > 0 {
		do, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		name, rest = rest[0], rest[1:]
	}
	if *role != "" && do != "add" {
		return usagef("--role belongs to add; `mailweir users role NAME R` changes a role")
	}
	password := ""
	if *stdin {
		if do != "add" && do != "reset" {
			return usagef("--password-stdin belongs to add and reset")
		}
		text, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<10))
		if err != nil {
			return fmt.Errorf("read the password: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	one := func(method string, elements []string, body any) error {
		var u webadmin.User
		if err := api.call(ctx, method, append([]string{"users"}, elements...), nil, body, &u); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c.stdout, u)
		}
		_, err := fmt.Fprintf(c.stdout, "%s %s\n", u.Name, userLine(u))
		return err
	}
	made := func(elements []string, body any) error {
		var m webadmin.UserMade
		if err := api.call(ctx, http.MethodPost, append([]string{"users"}, elements...), nil, body, &m); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c.stdout, m)
		}
		_, err := fmt.Fprintf(c.stdout, "%s %s\n", m.User.Name, userLine(m.User))
		if m.Password != "" && err == nil {
			_, err = fmt.Fprintf(c.stdout, "password: %s\nIt is shown once, and another is chosen at the next login.\n", m.Password)
		}
		return err
	}
	set := func(change func(*webadmin.User)) error {
		items, err := all[webadmin.User](ctx, api, []string{"users"}, nil)
		if err != nil {
			return err
		}
		for _, u := range items {
			if u.Name == name {
				change(&u)
				return one(http.MethodPut, []string{name}, map[string]any{"role": u.Role, "disabled": u.Disabled, "second_factor_needed": u.NeedsFactor})
			}
		}
		return fmt.Errorf("no user %q; `mailweir users` lists them", name)
	}
	takes := 1 // arguments
	switch do {
	case "", "list", "setup-code":
		takes = 0
	case "role":
		takes = 2
	}
	if given := len(rest) + min(len(name), 1); given != takes {
		return usagef("users: %s takes %d arguments, not %d; usage: mailweir users %s", cmp.Or(do, "without a word"), takes, given, usersUsage)
	}
	switch do {
	case "", "list":
		items, err := all[webadmin.User](ctx, api, []string{"users"}, nil)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c.stdout, map[string]any{"items": items, "next": ""})
		}
		if len(items) == 0 {
			_, err := fmt.Fprintln(c.stdout, "there is no user yet; `mailweir users setup-code` shows the code for the first visit")
			return err
		}
		w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
		for _, u := range items {
			fmt.Fprintf(w, "%s\t%s\n", u.Name, userLine(u))
		}
		return w.Flush()
	case "setup-code":
		var code webadmin.SetupCode
		if err := api.get(ctx, []string{"setup-code"}, nil, &code); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(c.stdout, code)
		}
		_, err := fmt.Fprintf(c.stdout, "setup code: %s\nType it at %s; it holds until there is a user, or a restart.\n", code.Code, code.URL)
		return err
	case "add":
		if *role == "" {
			return usagef("users add needs --role viewer, operator or admin")
		}
		return made(nil, map[string]string{"name": name, "role": *role, "password": password})
	case "reset":
		return made([]string{name, "password"}, map[string]string{"password": password})
	case "role":
		return set(func(u *webadmin.User) { u.Role = rest[0] })
	case "disable", "enable":
		return set(func(u *webadmin.User) { u.Disabled = do == "disable" })
	case "need-factor":
		return set(func(u *webadmin.User) { u.NeedsFactor = true })
	case "drop-factor":
		return one(http.MethodDelete, []string{name, "second-factor"}, nil)
	case "end":
		return one(http.MethodDelete, []string{name, "sessions"}, nil)
	case "remove":
		return one(http.MethodDelete, []string{name}, nil)
	}
	return usagef("users: no word %q; usage: mailweir users %s", do, usersUsage)
}

// userLine says what a user is, in a line.
func userLine(u webadmin.User) string {
	text := u.Role
	if u.Disabled {
		text += ", disabled"
	}
	switch {
	case u.HasFactor:
		text += fmt.Sprintf(", second factor, %d recovery codes left", u.RecoveryLeft)
	case u.NeedsFactor:
		text += ", sets up a second factor at the next login"
	}
	if u.MustChange {
		text += ", chooses a password at the next login"
	}
	return text + fmt.Sprintf("; %d sessions, %d tokens", u.Sessions, u.Tokens)
}
