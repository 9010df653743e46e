// Package governor decides what a subscriber may do: budgets, stages and the decision on each session.
package governor
