#include "libs/delivery/circuit.h"

#include <catch2/catch.hpp>

#include <string>

namespace millrace::delivery {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const MonotonicTime kStart(std::chrono::hours(1));

std::string User(int number) {
  return "user-" + std::to_string(number);
}

// Answers `kind` to `count` events of `users` users, one after the other.
void Answer(Circuit& circuit, AnswerKind kind, int count, int users) {
  for (int i = 0; i < count; ++i) circuit.OnAnswer(User(i % users), kind, "status", kStart);
}

void OpenIt(Circuit& circuit) {
  Answer(circuit, AnswerKind::kFailed, 20, 5);
  REQUIRE(circuit.open());
}

TEST_CASE("the circuit opens when 20 answers in a row from 5 users fail", "[circuit]") {
  struct Case {
    const char* name;
    int count, users;
    bool opens;
  };
  const auto c = GENERATE(values<Case>({
      {"20 failures of 5 users", 20, 5, true},
      {"20 failures of 20 users", 20, 20, true},
      {"19 failures", 19, 19, false},
      {"a thousand failures of 4 poisoned users", 1000, 4, false},
  }));
  CAPTURE(c.name);
  Circuit circuit;
  Answer(circuit, AnswerKind::kFailed, c.count, c.users);
  CHECK(circuit.open() == c.opens);
}

TEST_CASE("an answer that shows the destination works begins the row anew", "[circuit]") {
  const auto kind = GENERATE(AnswerKind::kSuccess, AnswerKind::kRefusedEvent);
  Circuit circuit;
  Answer(circuit, AnswerKind::kFailed, 19, 19);
  CHECK_FALSE(circuit.OnAnswer("well", kind, "", kStart));
  Answer(circuit, AnswerKind::kFailed, 19, 19);
  CHECK_FALSE(circuit.open());
}

TEST_CASE("refused credentials open the circuit at once and say so", "[circuit]") {
  Circuit circuit;
  CHECK(circuit.OnAnswer("a", AnswerKind::kUnauthorised, "the destination answered 401", kStart));
  const Circuit::Report report = circuit.Explain();
  CHECK(report.open);
  CHECK(report.credentials);
  CHECK(report.since == kStart);
  CHECK(report.reason ==
        "the destination refuses the credentials; last: the destination answered 401");
}

TEST_CASE("403 to three users in a row is as a 401", "[circuit]") {
  Circuit circuit;
  CHECK_FALSE(circuit.OnAnswer("a", AnswerKind::kForbidden, "403", kStart));
  CHECK_FALSE(circuit.OnAnswer("a", AnswerKind::kForbidden, "403", kStart));
  CHECK_FALSE(circuit.OnAnswer("b", AnswerKind::kForbidden, "403", kStart));
  SECTION("the third user's") {
    CHECK(circuit.OnAnswer("c", AnswerKind::kForbidden, "403", kStart));
    CHECK(circuit.Explain().credentials);
  }
  SECTION("a success between") {
    circuit.OnAnswer("d", AnswerKind::kSuccess, "", kStart);
    CHECK_FALSE(circuit.OnAnswer("c", AnswerKind::kForbidden, "403", kStart));
  }
}

TEST_CASE("one 403 among successes is that event's own; others wait until it is known",
          "[circuit]") {
  Circuit circuit;
  ForbiddenNote note;
  circuit.OnAnswer("a", AnswerKind::kForbidden, "403", kStart);
  CHECK_FALSE(circuit.IsEventsOwn(note));
  SECTION("another user's event was taken meanwhile") {
    circuit.OnAnswer("b", AnswerKind::kSuccess, "", kStart);
    circuit.OnAnswer("a", AnswerKind::kForbidden, "403", kStart);
    CHECK(circuit.IsEventsOwn(note));
  }
  SECTION("no other event came: after the third try") {
    CHECK_FALSE(circuit.IsEventsOwn(note));
    CHECK(circuit.IsEventsOwn(note));
  }
  SECTION("the circuit is open for the credentials: never") {
    circuit.OnAnswer("b", AnswerKind::kForbidden, "403", kStart);
    circuit.OnAnswer("c", AnswerKind::kForbidden, "403", kStart);
    for (int i = 0; i < 10; ++i) CHECK_FALSE(circuit.IsEventsOwn(note));
  }
}

TEST_CASE("probes go one at a time, soon at first and within 2 s later", "[circuit]") {
  Circuit circuit;
  CHECK_FALSE(circuit.MayProbe(kStart));
  OpenIt(circuit);
  MonotonicTime now = kStart;
  CHECK_FALSE(circuit.MayProbe(now));
  CHECK(circuit.next_probe() >= kStart + milliseconds(200));
  CHECK(circuit.next_probe() <= kStart + seconds(1));
  for (int i = 0; i < 50; ++i) {
    now = circuit.next_probe();
    REQUIRE(circuit.MayProbe(now));
    circuit.StartProbe(User(i), now);
    CHECK_FALSE(circuit.MayProbe(now + seconds(3)));  // one is under way
    circuit.OnAnswer(User(i), AnswerKind::kFailed, "500", now, true);
    CHECK(circuit.next_probe() > now);
    CHECK(circuit.next_probe() <= now + seconds(2));
  }
  CHECK(circuit.next_probe() >= now + seconds(1));
  CHECK(circuit.Explain().probes == 50);
}

TEST_CASE("a probe that hangs or is dropped does not hold the next one back", "[circuit]") {
  Circuit circuit;
  OpenIt(circuit);
  const MonotonicTime now = circuit.next_probe();
  circuit.StartProbe("a", now);
  SECTION("it hangs") {
    CHECK(circuit.next_probe() == now + seconds(5));
    CHECK_FALSE(circuit.MayProbe(now + seconds(5) - milliseconds(1)));
    CHECK(circuit.MayProbe(now + seconds(5)));
  }
  SECTION("it is dropped") {
    circuit.DropProbe();
    CHECK(circuit.next_probe() < now + seconds(5));
    CHECK(circuit.MayProbe(circuit.next_probe()));
  }
}

TEST_CASE("the users of the last probes are known", "[circuit]") {
  Circuit circuit;
  OpenIt(circuit);
  CHECK_FALSE(circuit.ProbedLately(User(0)));
  for (int i = 0; i < 20; ++i) circuit.StartProbe(User(i), kStart);
  CHECK(circuit.ProbedLately(User(19)));
  CHECK(circuit.ProbedLately(User(4)));
  CHECK_FALSE(circuit.ProbedLately(User(3)));
}

TEST_CASE("the first success closes the circuit, whatever failed before", "[circuit]") {
  Circuit circuit;
  OpenIt(circuit);
  CHECK(circuit.Explain().reason == "20 answers in a row failed; last: status");
  const bool probe = GENERATE(true, false);
  if (probe) circuit.StartProbe("a", kStart);
  CHECK(circuit.OnAnswer("a", AnswerKind::kSuccess, "", kStart, probe));
  CHECK_FALSE(circuit.open());
  CHECK(circuit.Explain().reason.empty());
  Answer(circuit, AnswerKind::kFailed, 19, 19);
  CHECK_FALSE(circuit.open());
}

TEST_CASE("answers to what was sent before it opened change nothing", "[circuit]") {
  Circuit circuit;
  OpenIt(circuit);
  const MonotonicTime next = circuit.next_probe();
  Answer(circuit, AnswerKind::kFailed, 100, 50);
  CHECK(circuit.next_probe() == next);
  CHECK(circuit.Explain().probes == 0);
}

TEST_CASE("a changed destination is tried at once", "[circuit]") {
  Circuit circuit;
  OpenIt(circuit);
  circuit.Reset();
  CHECK_FALSE(circuit.open());
}

}  // namespace
}  // namespace millrace::delivery
