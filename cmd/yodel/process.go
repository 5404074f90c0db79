package main

import (
	"encoding/json"
	"fmt"

	"yodel/engine"
	"yodel/engine/process"
)

// childSettings are the values of the flags that services are made with, as the
// children of the process engine are told them. They bear the flags' names.
type childSettings struct {
	LineMax int `json:"line-max"`
}

// newProcess returns an engine whose children make p's service as f has it.
func newProcess(p plan, f *serveFlags, cfg *engine.Config) (engine.Engine, error) {
	if p.row.isDoor() {
		return nil, &engine.UnfitError{Engine: "process", Why: "what connections share is lost in processes of their own"}
	}
	settings, err := json.Marshal(childSettings{LineMax: f.lineMax})
	if err != nil {
		return nil, err
	}
	return process.New(p.service(f), cfg, &process.Options{MaxChildren: f.children, Settings: settings})
}

// makeInChild returns the service that a child serves.
func makeInChild(name string, settings []byte) (any, error) {
	row := serviceNamed(name)
	if row == nil || row.isDoor() {
		return nil, fmt.Errorf("there is no service %q", name)
	}
	var s childSettings
	if err := json.Unmarshal(settings, &s); err != nil {
		return nil, err
	}
	return row.make(&serveFlags{lineMax: s.LineMax}), nil
}
