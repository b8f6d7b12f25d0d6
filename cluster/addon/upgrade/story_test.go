package upgrade

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-os/keelson/machine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const v2 = "bundle: {url: https://example.test/v2.keelson}"

func TestASingleNodeIsUpgradedWithoutADrain(t *testing.T) {
	inWorld(t, []string{"s1"}, func(w *world) {
		w.pod("web", "s1", "ReplicaSet")
		w.put("v2", "bundle: {url: file:///var/lib/rancher/v2.keelson, sha256: ab}")
		w.run()
		w.awaitPhase("v2", phaseDone, 10*time.Minute)
		if got := w.deeds(); !slices.Equal(got, []string{"s1 upgrade", "s1 reboot"}) {
			t.Errorf("done to the node: %q, want neither cordon nor eviction", got)
		}
		if got := w.machines["s1"].upgrades[0]; got != (machine.UpgradeRequest{URL: "file:///var/lib/rancher/v2.keelson", SHA256: "ab", NoReboot: true}) {
			t.Errorf("the machine was asked for %+v", got)
		}
		s := w.upgrade("v2").Status
		n := s.Nodes[0]
		if s.Version != "0.2.0" || s.Progress != "1/1" || s.Message != "1 node runs 0.2.0" || n.FromVersion != "0.1.0" || n.ToVersion != "0.2.0" || n.Finished == nil || s.Finished == nil {
			t.Errorf("status %+v, want 0.2.0 on 1/1", s)
		}
		if got := w.told(); !slices.Equal(got, []string{"Accepted", "DrainSkipped", "Applying", "Applied", "Rebooting", "NodeDone", "Done"}) {
			t.Errorf("events %q", got)
		}
	})
}

func TestADoneUpgradeIsNotAppliedAgainUntilItsBundleChanges(t *testing.T) {
	inWorld(t, []string{"s1"}, func(w *world) {
		w.put("v2", v2)
		w.run()
		w.awaitPhase("v2", phaseDone, 10*time.Minute)
		w.run() // another node process
		w.queue.Add("v2")
		time.Sleep(time.Hour)
		w.put("v2", v2+"\nconcurrency: 2")
		time.Sleep(time.Hour)
		if got := len(w.machines["s1"].upgrades); got != 1 || w.upgrade("v2").Status.Phase != phaseDone {
			t.Errorf("applied %d times, %s, want once and Done", got, w.upgrade("v2").Status.Phase)
		}
		w.put("v2", "bundle: {url: https://example.test/v3.keelson}")
		w.await("v2", 10*time.Minute, "done anew", func(u *upgrade) bool {
			return u.Status.Phase == phaseDone && u.Status.ObservedGeneration == 3
		})
		if got := len(w.machines["s1"].upgrades); got != 2 {
			t.Errorf("applied %d times, want twice", got)
		}
	})
}

func TestThreeNodesAreUpgradedInOrderAndDrained(t *testing.T) {
	inWorld(t, []string{"a", "b", "s1"}, func(w *world) {
		daemons := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "of-daemon", Namespace: "default"}}
		if _, err := w.client.AppsV1().DaemonSets("default").Create(t.Context(), daemons, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.pod("web", "a", "ReplicaSet", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		})
		w.pod("daemon", "a", "DaemonSet")
		w.pod("static", "a", "", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} })
		cordoned := w.node("b")
		cordoned.Spec.Unschedulable = true // by its owner, who wants it so
		if _, err := w.client.CoreV1().Nodes().Update(t.Context(), cordoned, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.put("v2", v2)
		w.run()
		w.awaitPhase("v2", phaseDone, 30*time.Minute)
		want := []string{
			"s1 cordon", "s1 upgrade", "s1 reboot", "s1 uncordon",
			"a cordon", "evict web", "a upgrade", "a reboot", "a uncordon",
			"b upgrade", "b reboot",
		}
		if got := w.deeds(); !slices.Equal(got, want) {
			t.Errorf("done to the nodes: %q, want %q", got, want)
		}
		if got := w.pods(); !slices.Equal(got, []string{"daemon", "static"}) {
			t.Errorf("pods %q are left, want those that a drain ignores", got)
		}
		w.wantFree("s1")
		w.wantFree("a")
		if !w.node("b").Spec.Unschedulable {
			t.Error("node b, which its owner had cordoned, is uncordoned")
		}
	})
}

func TestAgentsAreUpgradedAtOnceUpToTheConcurrency(t *testing.T) {
	inWorld(t, []string{"a", "b", "c", "s1"}, func(w *world) {
		w.put("v2", v2+"\nconcurrency: 2\ndrain: {enabled: false}")
		w.run()
		w.await("v2", 10*time.Minute, "at two agents", func(u *upgrade) bool {
			if strings.Contains(u.Status.Current, "s1,") || strings.Count(u.Status.Current, ",") > 1 {
				t.Fatalf("under way: %s", u.Status.Current)
			}
			return u.Status.Current == "a,b"
		})
		w.awaitPhase("v2", phaseDone, 30*time.Minute)
		if !w.upgrade("v2").Status.Nodes[0].Finished.Time.Before(w.upgrade("v2").Status.Nodes[1].Started.Add(time.Nanosecond)) {
			t.Error("an agent was begun before the server was done")
		}
	})
}

func TestItStopsAtTheFirstNodeThatRollsBack(t *testing.T) {
	inWorld(t, []string{"a", "b", "s1"}, func(w *world) {
		w.machines["a"].fate = rollsBack
		w.put("v2", v2)
		w.run()
		w.awaitPhase("v2", phaseRolledBack, 30*time.Minute)
		time.Sleep(time.Hour)
		s := w.upgrade("v2").Status
		if s.Progress != "1/3" || s.Message != "a: back on 0.1.0: the kernel panicked" || s.node("b").Phase != nodePending || s.node("a").Phase != nodeRolledBack {
			t.Errorf("status %+v, want it stopped at a with the reason", s)
		}
		if len(w.machines["b"].upgrades) != 0 {
			t.Error("b was upgraded")
		}
		w.wantFree("a")
		if got := w.told(); !slices.Contains(got, "NodeRolledBack") || !slices.Contains(got, "Stopped") {
			t.Errorf("events %q", got)
		}
		for _, c := range s.Conditions {
			if want := map[string]metav1.ConditionStatus{typeComplete: metav1.ConditionFalse, typeFailed: metav1.ConditionTrue}[c.Type]; c.Status != want || c.Reason != "RolledBack" {
				t.Errorf("condition %+v, want %s", c, want)
			}
		}
	})
}

func TestADrainThatABudgetBlocksEnds(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.pod("web", "s1", "ReplicaSet")
		w.held["web"] = true
		w.put("v2", v2+"\ndrain: {timeoutSeconds: 120}")
		w.run()
		took := w.awaitPhase("v2", phaseFailed, 10*time.Minute)
		if took < 2*time.Minute || took > 2*time.Minute+15*time.Second {
			t.Errorf("given up after %s, want two minutes", took)
		}
		if m := w.upgrade("v2").Status.Message; !strings.Contains(m, "disruption budget") || !strings.Contains(m, "web") || !strings.Contains(m, "spec.drain.timeoutSeconds") {
			t.Errorf("message %q, want the pod, the budget and the field", m)
		}
		if len(w.machines["s1"].upgrades) != 0 || !slices.Equal(w.pods(), []string{"web"}) {
			t.Errorf("upgraded %d times, pods %q, want nothing done", len(w.machines["s1"].upgrades), w.pods())
		}
		w.wantFree("s1")
	})
}

func TestAPodWithoutAControllerStopsTheDrainAtOnce(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.pod("bare", "s1", "")
		w.put("v2", v2)
		w.run()
		w.awaitPhase("v2", phaseFailed, time.Minute)
		if m := w.upgrade("v2").Status.Message; !strings.Contains(m, "spec.drain.force") || !strings.Contains(m, "bare") {
			t.Errorf("message %q, want the pod and the field", m)
		}
		w.wantFree("s1")
		w.put("v2", v2+"\ndrain: {force: true}")
		w.awaitPhase("v2", phaseDone, 30*time.Minute)
	})
}

func TestNothingIsBegunOutsideTheWindow(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		// The bubble's time begins at midnight UTC.
		w.put("v2", v2+"\nwindow: {start: \"02:00\", end: \"02:02\"}")
		w.run()
		w.awaitPhase("v2", phaseWaiting, time.Minute)
		if m := w.upgrade("v2").Status.Message; !strings.Contains(m, "02:00 UTC") {
			t.Errorf("message %q, want when the window opens", m)
		}
		time.Sleep(2*time.Hour - time.Minute)
		if got := w.deeds(); len(got) != 0 {
			t.Errorf("done before the window: %q", got)
		}
		// It opens: the server is begun, and finished although the window closes meanwhile.
		w.await("v2", 20*time.Minute, "waiting for tomorrow", func(u *upgrade) bool { return u.Status.Progress == "1/2" && u.Status.Phase == phaseWaiting })
		if len(w.machines["a"].upgrades) != 0 {
			t.Error("a was begun after the window")
		}
		w.awaitPhase("v2", phaseDone, 25*time.Hour)
		if got := w.told(); len(got) < 2 || !slices.Equal(got[:2], []string{"Accepted", "Waiting"}) {
			t.Errorf("events %q, want that it waits first", got)
		}
	})
}

func TestPausedBeginsNoFurtherNode(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.put("v2", v2)
		w.run()
		w.awaitNode("v2", "s1", nodeApplying, time.Minute)
		w.put("v2", v2+"\npaused: true")
		w.awaitPhase("v2", phasePaused, 10*time.Minute)
		if s := w.upgrade("v2").Status; s.Progress != "1/2" {
			t.Errorf("progress %s, want the node under way finished", s.Progress)
		}
		time.Sleep(time.Hour)
		if len(w.machines["a"].upgrades) != 0 {
			t.Error("a was begun")
		}
		w.put("v2", v2)
		w.awaitPhase("v2", phaseDone, 10*time.Minute)
		if len(w.machines["s1"].upgrades) != 1 {
			t.Error("s1 was upgraded again")
		}
	})
}

// The node process reboots its own machine: it must find the way from what is in the status,
// wherever it is cut off.
func TestARestartInTheMiddleGoesOn(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  func(w *world, m *fakeMachine, now func())
	}{
		{"in the reboot", func(_ *world, m *fakeMachine, now func()) { m.ordered = now }},
		{"armed, and not yet in the status", func(_ *world, m *fakeMachine, now func()) { m.armed = now }},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, []string{"a", "s1"}, func(w *world) {
				m := w.machines["s1"]
				ended := make(chan struct{})
				c.cut(w, m, func() {
					w.stop()
					close(ended)
					m.armed, m.ordered = nil, nil
				})
				w.put("v2", v2)
				w.run()
				<-ended
				w.halt()
				time.Sleep(40 * time.Second)
				w.run()
				w.awaitPhase("v2", phaseDone, 30*time.Minute)
				if len(m.upgrades) != 1 || m.reboots != 1 {
					t.Errorf("upgraded %d times, rebooted %d times, want once each", len(m.upgrades), m.reboots)
				}
				w.wantFree("s1")
				w.wantFree("a")
			})
		})
	}
	for _, at := range []nodePhase{nodePreparing, nodeDraining, nodeApplying, nodeRebooting} {
		t.Run("while "+string(at), func(t *testing.T) {
			inWorld(t, []string{"a", "s1"}, func(w *world) {
				w.pod("web", "s1", "ReplicaSet")
				w.held["web"] = at == nodeDraining
				if at == nodePreparing {
					w.setReady("s1", false)
				}
				w.put("v2", v2)
				w.run()
				w.awaitNode("v2", "s1", at, 10*time.Minute)
				w.halt()
				time.Sleep(20 * time.Second)
				w.mu.Lock()
				w.held["web"] = false
				w.mu.Unlock()
				w.setReady("s1", true)
				w.run()
				w.awaitPhase("v2", phaseDone, 30*time.Minute)
				if got := w.machines["s1"].reboots; got != 1 {
					t.Errorf("rebooted %d times, want once", got)
				}
				w.wantFree("s1")
			})
		})
	}
}

// setReady makes a Node Ready, or not.
func (w *world) setReady(name string, is bool) {
	w.t.Helper()
	n := w.node(name)
	n.Status.Conditions[0].Status = map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionFalse}[is]
	if _, err := w.client.CoreV1().Nodes().UpdateStatus(w.t.Context(), n, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func TestANodeThatNeverComesBackEndsIt(t *testing.T) {
	inWorld(t, []string{"a", "b", "s1"}, func(w *world) {
		w.machines["a"].fate = neverBack
		w.put("v2", v2)
		w.run()
		w.awaitNode("v2", "a", nodeRebooting, 30*time.Minute)
		w.setReady("a", false)
		took := w.awaitPhase("v2", phaseFailed, 2*time.Hour)
		if took < comeBack-time.Minute || took > comeBack+time.Minute {
			t.Errorf("given up after %s, want %s", took, comeBack)
		}
		s := w.upgrade("v2").Status
		if s.node("b").Phase != nodePending || !strings.Contains(s.Message, "connection refused") || !strings.Contains(s.Message, "kubectl uncordon a") {
			t.Errorf("status %+v, want b untouched and a message with the last error and what to do", s)
		}
		if !w.node("a").Spec.Unschedulable {
			t.Error("a takes pods, and nobody knows what it runs")
		}
		w.delete("v2")
		synctest.Wait()
		w.wantFree("a")
	})
}

func TestANodeThatIsNotReadyIsNotBegun(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.setReady("s1", false)
		w.put("v2", v2)
		w.run()
		took := w.awaitPhase("v2", phaseFailed, time.Hour)
		if got := w.deeds(); len(got) != 0 || took > readyLimit+time.Minute {
			t.Errorf("done to the nodes: %q in %s, want nothing in %s", got, took, readyLimit)
		}
	})
}

func TestWhatTheMachineRefusesIsTheMessage(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.machines["s1"].refuse = &machine.Error{Status: 422, Message: "the bundle is for board rpi, this is pc", Do: "take the bundle for pc"}
		w.put("v2", v2)
		w.run()
		w.awaitPhase("v2", phaseFailed, 10*time.Minute)
		if m := w.upgrade("v2").Status.Message; m != "s1: apply: the bundle is for board rpi, this is pc; take the bundle for pc" {
			t.Errorf("message %q", m)
		}
		if w.machines["s1"].reboots != 0 || len(w.machines["s1"].upgrades) != 1 {
			t.Errorf("asked %d times, rebooted %d times, want 1 and 0", len(w.machines["s1"].upgrades), w.machines["s1"].reboots)
		}
		w.wantFree("s1")
	})
}

func TestANodeThatRunsTheBundleAlreadyIsNotRebooted(t *testing.T) {
	inWorld(t, []string{"s1"}, func(w *world) {
		w.machines["s1"].has = "0.2.0"
		w.put("v2", v2)
		w.run()
		w.awaitPhase("v2", phaseDone, 10*time.Minute)
		if n := w.upgrade("v2").Status.Nodes[0]; w.machines["s1"].reboots != 0 || n.Message != "runs 0.2.0 already" {
			t.Errorf("rebooted %d times, %q", w.machines["s1"].reboots, n.Message)
		}
	})
}

func TestABusyMachineIsWaitedFor(t *testing.T) {
	inWorld(t, []string{"s1"}, func(w *world) {
		w.machines["s1"].busy = 20
		w.put("v2", v2)
		w.run()
		w.awaitPhase("v2", phaseDone, 30*time.Minute)
	})
	inWorld(t, []string{"s1"}, func(w *world) {
		w.machines["s1"].busy = 1e6
		w.put("v2", v2)
		w.run()
		w.awaitPhase("v2", phaseFailed, busyLimit+time.Minute)
		if m := w.upgrade("v2").Status.Message; !strings.Contains(m, "another upgrade is under way") {
			t.Errorf("message %q", m)
		}
	})
}

func TestABundlesServerThatGoesAwayIsAskedThreeTimes(t *testing.T) {
	for _, c := range []struct {
		lost int
		want phase
	}{{2, phaseDone}, {3, phaseFailed}} {
		inWorld(t, []string{"s1"}, func(w *world) {
			w.machines["s1"].lost = c.lost
			w.put("v2", v2)
			w.run()
			w.await("v2", 10*time.Minute, "ended", func(u *upgrade) bool { return u.Status.Phase.ended() })
			if s := w.upgrade("v2").Status; s.Phase != c.want {
				t.Errorf("after %d losses: %s %q, want %s", c.lost, s.Phase, s.Message, c.want)
			}
		})
	}
}

func TestAnUpgradeThatNeverEndsIsGivenUp(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.machines["s1"].takes = 48 * time.Hour
		w.put("v2", v2)
		w.run()
		if took := w.awaitPhase("v2", phaseFailed, 12*time.Hour); took > applyLimit+time.Minute {
			t.Errorf("given up after %s, want %s", took, applyLimit)
		}
		w.wantFree("s1")
	})
}

func TestOfTwoUpgradesOneWaitsForTheOther(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.put("first", v2)
		time.Sleep(time.Second)
		w.put("second", "bundle: {url: https://example.test/v3.keelson}")
		w.run()
		w.await("second", time.Minute, "waiting", func(u *upgrade) bool {
			return u.Status.Phase == phaseWaiting && u.Status.Message == "waits for Upgrade first"
		})
		w.awaitPhase("first", phaseDone, 30*time.Minute)
		w.awaitPhase("second", phaseDone, 30*time.Minute)
		for _, m := range w.machines {
			if len(m.upgrades) != 2 || m.upgrades[0].URL == m.upgrades[1].URL || !strings.Contains(m.upgrades[0].URL, "v2") {
				t.Errorf("%s took %+v, want v2, then v3", m.name, m.upgrades)
			}
		}
	})
}

func TestADeletedUpgradeLetsGoOfTheNode(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.pod("web", "s1", "ReplicaSet")
		w.held["web"] = true
		w.put("v2", v2)
		w.run()
		w.awaitNode("v2", "s1", nodeDraining, time.Minute)
		w.delete("v2")
		time.Sleep(10 * time.Second)
		w.wantFree("s1")
		if len(w.machines["s1"].upgrades) != 0 {
			t.Error("the node was upgraded nevertheless")
		}
	})
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.put("v2", v2)
		w.run()
		w.awaitNode("v2", "s1", nodeApplying, time.Minute)
		w.delete("v2")
		time.Sleep(10 * time.Minute)
		if m := w.machines["s1"]; m.version != "0.2.0" || len(w.machines["a"].upgrades) != 0 {
			t.Errorf("s1 runs %s, a was asked %d times, want the node under way finished and no other begun", m.version, len(w.machines["a"].upgrades))
		}
		w.wantFree("s1")
	})
}

func TestANodeThatADeletedUpgradeCordonedIsUncordonedAtStart(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		if _, err := cordon(t.Context(), w.client, "a", "gone"); err != nil {
			t.Fatal(err)
		}
		w.run()
		w.wantFree("a")
	})
}

func TestRemoveUncordons(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		for range 2 {
			if _, err := cordon(t.Context(), w.client, "a", "v2"); err != nil {
				t.Fatal(err)
			}
			if err := Remove(t.Context(), w.client); err != nil {
				t.Fatal(err)
			}
			w.wantFree("a")
		}
	})
}

func TestAnotherBundleInTheMiddleOfADrainBeginsAnew(t *testing.T) {
	inWorld(t, []string{"a", "s1"}, func(w *world) {
		w.pod("web", "s1", "ReplicaSet")
		w.held["web"] = true
		w.put("v2", v2)
		w.run()
		w.awaitNode("v2", "s1", nodeDraining, time.Minute)
		w.put("v2", "bundle: {url: https://example.test/v3.keelson}")
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		w.held["web"] = false
		w.mu.Unlock()
		w.awaitPhase("v2", phaseDone, 30*time.Minute)
		for _, m := range w.machines {
			if len(m.upgrades) != 1 || !strings.Contains(m.upgrades[0].URL, "v3") {
				t.Errorf("%s took %+v, want v3 only", m.name, m.upgrades)
			}
		}
		w.wantFree("s1")
	})
}

func TestANodeThatLeftIsSkipped(t *testing.T) {
	inWorld(t, []string{"a", "b", "s1"}, func(w *world) {
		w.put("v2", v2)
		w.run()
		w.awaitNode("v2", "s1", nodeApplying, time.Minute)
		if err := w.client.CoreV1().Nodes().Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.awaitPhase("v2", phaseDone, 30*time.Minute)
		if s := w.upgrade("v2").Status; s.node("a").Phase != nodeSkipped || s.Progress != "2/2" {
			t.Errorf("status %+v, want a skipped", s)
		}
	})
}

func TestAMistakeInTheSpecIsToldAndCanBeMended(t *testing.T) {
	inWorld(t, []string{"s1"}, func(w *world) {
		w.put("v2", v2+"\nwindow: {start: \"22:00\", end: \"05:00\", timeZone: Nowhere}")
		w.run()
		w.awaitPhase("v2", phaseFailed, time.Minute)
		if m := w.upgrade("v2").Status.Message; !strings.HasPrefix(m, "spec.window.timeZone") {
			t.Errorf("message %q", m)
		}
		w.put("v2", v2+"\nnodeSelector: {matchExpressions: [{key: a, operator: Maybe}]}")
		w.await("v2", time.Minute, "failed by its selector", func(u *upgrade) bool { return strings.HasPrefix(u.Status.Message, "spec.nodeSelector") })
		w.put("v2", v2+"\nnodeSelector: {matchLabels: {no: node}}")
		w.await("v2", time.Minute, "without nodes", func(u *upgrade) bool {
			return u.Status.Phase == phaseFailed && u.Status.Message == "no node matches spec.nodeSelector"
		})
		w.put("v2", v2)
		w.awaitPhase("v2", phaseDone, 10*time.Minute)
	})
}
