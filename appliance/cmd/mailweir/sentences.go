package main

import (
	"context"
	"strings"

	"github.com/mailweir/mailweir/web-admin/sentences"
)

func sentencesCommand(_ context.Context, c *invocation) error {
	rest, err := c.parse()
	if err != nil {
		return err
	}
	lang := sentences.Languages[0]
	if len(rest) == 1 {
		lang = rest[0]
	}
	file := sentences.File(lang)
	if len(rest) > 1 || file == nil {
		return usagef("sentences takes one language: %s", strings.Join(sentences.Languages, ", "))
	}
	_, err = c.stdout.Write(file)
	return err
}
