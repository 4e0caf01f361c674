package workload

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Former is the annotation that keeps the policies which a patch replaced, as
// JSON: {"containers/nginx":"Always"}.
const Former = "ferry/former-pull-policies"

// Change is another pull policy for a place.
type Change struct {
	Place

	// To is the policy that it gets; Place.Policy is the one that it had.
	To string `json:"to"`
}

// Changes are what has to change so that the kubelet takes the images on the
// node: of the places that want decides about, those whose policy asks the
// registry each time. With policy Never, all that are not Never.
func Changes(places []Place, policy string, want func(Place) bool) []Change {
	var all []Change
	for _, p := range places {
		if !want(p) || p.Policy == policy || policy == IfNotPresent && p.Policy == Never {
			continue
		}
		all = append(all, Change{p, policy})
	}
	return all
}

// Back are the changes that undo an earlier patch of w, and the error says why
// they cannot be told. A place that was changed by someone else since, or is
// gone, stays.
func (w Workload) Back() ([]Change, error) {
	former, err := w.former()
	if err != nil {
		return nil, err
	}
	var all []Change
	for _, p := range w.Spec.Places {
		if was, ok := former[p.Key()]; ok && was != p.Policy {
			all = append(all, Change{p, was})
		}
	}
	return all, nil
}

func (w Workload) former() (map[string]string, error) {
	text, ok := w.Annotations[Former]
	if !ok {
		return nil, nil
	}
	var former map[string]string
	if err := json.Unmarshal([]byte(text), &former); err != nil {
		return nil, fmt.Errorf("the annotation %s is not what ferry writes: %w", Former, err)
	}
	for key, policy := range former {
		if !slices.Contains([]string{Always, IfNotPresent, Never}, policy) {
			return nil, fmt.Errorf("the annotation %s has no pull policy for %s, but %q", Former, key, policy)
		}
	}
	return former, nil
}

// Patch is the smallest strategic merge patch that makes the changes in w's
// template, for exactly the version of w that was read. It notes the policies
// that it replaces, and keeps those that an earlier patch noted.
func (w Workload) Patch(changes []Change) ([]byte, error) {
	former, err := w.former()
	if err != nil {
		return nil, err
	}
	note := map[string]string{}
	for _, c := range changes {
		note[c.Key()] = c.Policy
	}
	for key, policy := range former {
		note[key] = policy // the first one is what it was before ferry
	}
	text, err := json.Marshal(note)
	if err != nil {
		return nil, err
	}
	return w.patch(changes, string(text))
}

// BackPatch undoes: it makes the changes and takes the note away.
func (w Workload) BackPatch(changes []Change) ([]byte, error) { return w.patch(changes, nil) }

func (w Workload) patch(changes []Change, note any) ([]byte, error) {
	metadata := map[string]any{"resourceVersion": w.Version, "annotations": map[string]any{Former: note}}
	patch := map[string]any{"metadata": metadata}
	if len(changes) > 0 {
		patch["spec"] = w.inTemplate(PolicyPatch(changes))
	}
	return json.Marshal(patch)
}

// PolicyPatch is the part of a pod spec that the changes are about, as a
// person would write it into kubectl patch.
func PolicyPatch(changes []Change) map[string]any {
	spec := map[string]any{}
	for _, c := range changes {
		entry := map[string]any{"name": c.Name, "imagePullPolicy": c.To}
		if c.List == Volumes {
			entry = map[string]any{"name": c.Name, "image": map[string]any{"pullPolicy": c.To}}
		}
		list, _ := spec[c.List].([]any)
		spec[c.List] = append(list, entry)
	}
	return spec
}

// inTemplate puts a pod spec where w's kind has it.
func (w Workload) inTemplate(podSpec map[string]any) map[string]any {
	template := map[string]any{"template": map[string]any{"spec": podSpec}}
	if w.Kind == "CronJob" {
		return map[string]any{"jobTemplate": map[string]any{"spec": template}}
	}
	return template
}

// ByHandPatch is the same patch as a person would type it, without version and
// note.
func (w Workload) ByHandPatch(changes []Change) (string, error) {
	b, err := json.Marshal(map[string]any{"spec": w.inTemplate(PolicyPatch(changes))})
	return string(b), err
}

// Fixed says that the template of this kind cannot be changed any more.
func (w Workload) Fixed() bool { return w.Kind == "Job" || w.Kind == "Pod" }
