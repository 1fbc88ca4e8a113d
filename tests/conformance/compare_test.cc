#include "tests/conformance/compare.h"

#include <catch2/catch.hpp>

namespace millrace::conformance {
namespace {

const FileNames kFiles = {{"my code", "transformation"}, {"library adder", "adder"}};

TEST_CASE("stacks of two engines are read alike") {
  const ErrorText peer = ReadError(
      "TypeError: no\n    at Adder.add (library adder:3:28)\n    at my code:2:37\n    at Array.map "
      "(<anonymous>)\n"
      "    at async other (my code:9:9)\n    at run (/srv/engine.js:7:1)\n    at transformBatch "
      "(my code:2:16)",
      kFiles);
  const ErrorText ours = ReadError(
      "TypeError: no\n    at add (adder:3:22)\n    at <anonymous> (transformation:2:3)\n    at map "
      "(native)\n"
      "    at transformBatch (transformation:2:10)\n",
      {{"transformation", "transformation"}, {"adder", "adder"}});
  CHECK(peer.message == "TypeError: no");
  CHECK(peer.frames.size() == 3);
  CHECK(CompareErrors(peer, ours).empty());
}

TEST_CASE("errors that differ are told apart") {
  struct Case {
    const char* name;
    const char* recorded;
    const char* ours;
    bool same;
  };
  const auto c = GENERATE(values<Case>({
      {"the same", "Error: a\n    at f (my code:1:1)", "Error: a\n    at f (my code:1:9)", true},
      {"ours says more", "Error: a", "Error: a, at index 1", true},
      {"ours says less", "Error: a, at index 1", "Error: a", false},
      {"another name", "Error: a", "TypeError: a", false},
      {"another line", "Error: a\n    at f (my code:1:1)", "Error: a\n    at f (my code:2:1)",
       false},
      {"another function", "Error: a\n    at f (my code:1:1)", "Error: a\n    at g (my code:1:1)",
       false},
      {"a frame is missing", "Error: a\n    at f (my code:1:1)", "Error: a", false},
      {"one frame too many", "Error: a\n    at f (my code:1:1)",
       "Error: a\n    at g (my code:2:1)\n    at f (my code:1:1)", false},
      {"only frames of the engine", "Error: a\n    at x (engine:1:1)",
       "Error: a\n    at f (my code:1:1)", true},
      {"the engine's words", "TypeError: Cannot read properties of undefined (reading 'x')",
       "TypeError: cannot read property 'x' of undefined", true},
      {"the engine's words, another name", "TypeError: f is not a function",
       "ReferenceError: not a function", false},
      {"the user's words", "TypeError: no such thing", "TypeError: not a thing", false},
      {"no stack was recorded", "Error: a", "Error: a\n    at f (my code:1:1)", true},
  }));
  CAPTURE(c.name);
  CHECK(CompareErrors(ReadError(c.recorded, kFiles), ReadError(c.ours, kFiles)).empty() == c.same);
}

TEST_CASE("documents are compared deeply") {
  struct Case {
    const char* recorded;
    const char* ours;
    const char* difference;
  };
  const auto c = GENERATE(values<Case>({
      {R"({"a":[1,{"b":null}]})", R"({"a":[1.0,{"b":null}]})", ""},
      {R"({"a":1})", R"({"a":2})", "/a: recorded 1, ours 2"},
      {R"({"a":1})", R"({"a":"1"})", R"(/a: recorded 1, ours "1")"},
      {R"({"a":1})", R"({})", "/a: recorded 1, ours nothing"},
      {R"({})", R"({"a":1})", "/a: recorded nothing, ours 1"},
      {R"({"a":[1,2]})", R"({"a":[1]})", "/a: recorded [1,2], ours [1]"},
      {R"({"a":[1,{"b":2}]})", R"({"a":[1,{"b":3}]})", "/a/1/b: recorded 2, ours 3"},
      {R"x({"stack":"Error\n    at x (y:1:1)"})x", R"({"stack":""})", ""},
      {R"([])", R"({})", "event: recorded [], ours {}"},
  }));
  CAPTURE(c.recorded, c.ours);
  CHECK(CompareJson(Json::parse(c.recorded), Json::parse(c.ours)) == c.difference);
}

}  // namespace
}  // namespace millrace::conformance
