#include "libs/transformation/factory.h"

#include <catch2/catch.hpp>

#include "libs/transformation/libraries.h"
#include "libs/transformation/transformer_testing.h"

namespace millrace::transformation {
namespace {

using config::v1::TransformationVersion;
using config::v1::Workspace;

constexpr char kGood[] = "export function transformEvent(event) { return event; }";

TEST_CASE("Check says what is wrong, and where") {
  struct Case {
    const char* name;
    std::string code;
    std::string faults;
  };
  const auto c = GENERATE(values<Case>({
      {"good", kGood, ""},
      {"imports", "import {half} from 'maths'; export function transformBatch(e) { return e; }",
       ""},
      {"an import when called",
       "export const transformEvent = async () => (await import('maths')).half;", ""},
      {"legacy", "function transform(events) { return events; }", ""},
      {"ours", "import {md5} from '@rs/hash/v1';\nexport const transformEvent = (e) => e;", ""},
      {"no entry", "export const f = 1;",
       "transformation: nothing is exported that could be called: write 'export function "
       "transformEvent(event, metadata)', or transformBatch(events, metadata)"},
      {"two entries", "export const transformEvent = (e) => e, transformBatch = (e) => e;",
       "transformation: transformEvent and transformBatch are both exported: keep one"},
      {"an end too soon", "export function transformEvent(e) {\n  return e;\n",
       "transformation:3:1: SyntaxError: unexpected end of the code"},
      {"no such library", "import {a} from 'nowhere';\nexport const transformEvent = (e) => e;",
       "transformation:1:17: import from nowhere failed. Module not found. The workspace has: "
       "maths, "
       "ring, text, thrower, broken, roundA, roundB"},
      {"no such name",
       "import {\n  half,\n  twice} from 'maths';\nexport const transformEvent = half;",
       "transformation:3:3: library maths has no export 'twice'; it exports half"},
      {"no default", "import maths from 'maths';\nexport const transformEvent = (e) => e;",
       "transformation:1:8: library maths has no export 'default'; it exports half"},
      {"no such name, nor in what is exported on",
       "import {thirds} from 'text';\nexport const transformEvent = thirds;",
       "transformation:1:9: library text has no export 'thirds'; it exports half, upper"},
      {"a name that is exported on",
       "import {half} from 'text';\nexport const transformEvent = half;", ""},
      {"a cycle", "import 'roundA';\nexport const transformEvent = (e) => e;",
       "roundB:1:8: libraries import each other: roundA -> roundB -> roundA"},
      {"a library that imports itself", "import 'ring';\nexport const transformEvent = (e) => e;",
       "ring:1:8: libraries import each other: ring -> ring"},
  }));
  CAPTURE(c.name);
  TestFactory test;
  CHECK(Describe(test.factory->Check(test.Version(c.code), test.workspace)) == c.faults);
  const auto made = test.factory->Make(test.Version(c.code), test.workspace);
  CHECK(made.ok() == c.faults.empty());
  if (!made.ok()) {
    CHECK(made.status().code() == StatusCode::kInvalidArgument);
    CHECK(Message(made.status()) == c.faults);
  }
}

TEST_CASE("so many faults are told that people can read them") {
  TestFactory test;
  std::string code = "export const transformEvent = (e) => e;\n";
  for (int i = 0; i < 5'000; ++i) code += "import {nothing} from 'maths'; import 'nowhere';\n";
  const auto faults = test.factory->Check(test.Version(code), test.workspace);
  CHECK(faults.size() >= kMostFaults);
  CHECK(faults.size() < kMostFaults + 10);
}

TEST_CASE("syntax errors have line and column, in libraries too") {
  TestFactory test;
  const auto own = test.factory->Check(test.Version("let a = 1;\nlet b = ;\n"), test.workspace);
  REQUIRE(own.size() == 1);  // nothing is said of its exports, which are not known
  CHECK(own[0].where == "transformation");
  CHECK(own[0].line == 2);
  CHECK(own[0].column == 9);
  const auto library = test.factory->Check(
      test.Version("import 'broken'; export const transformEvent = (e) => e;"), test.workspace);
  REQUIRE(library.size() == 1);
  CHECK(library[0].where == "broken");
  CHECK(library[0].line == 3);
}

TEST_CASE("what is thrown while code loads is found, without secrets") {
  TestFactory test;
  auto* credential = test.workspace.add_credentials();
  credential->set_key("k");
  credential->set_value("tops3cret");
  credential->set_secret(true);
  struct Case {
    const char* code;
    CodeFault fault;
  };
  const auto c = GENERATE(values<Case>({
      {"import 'thrower'; export const transformEvent = (e) => e;",
       {"thrower", "Error: not ready", 1}},
      {"export const transformEvent = (e) => e;\nthrow new Error('with ' + getCredential('k'));",
       {"transformation", "Error: with ***", 2}},
      {"export const transformEvent = 1;",
       {"transformation",
        "TypeError: neither transformEvent nor transformBatch is a function: export one", 0}},
      {"store.get('k'); export const transformEvent = (e) => e;",
       {"transformation",
        "TypeError: store.get works only while an event is worked on, not while the code loads",
        1}},
      {"throw 'text'; export const transformEvent = (e) => e;", {"transformation", "text", 0}},
  }));
  CAPTURE(c.code);
  const auto faults = test.factory->Check(test.Version(c.code), test.workspace);
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].where == c.fault.where);
  CHECK(faults[0].message == c.fault.message);
  CHECK(faults[0].line == c.fault.line);
  CHECK((faults[0].column > 0) == (c.fault.line > 0));
  CHECK(Message(test.factory->Make(test.Version(c.code), test.workspace).status()) ==
        Describe(faults[0]));
}

TEST_CASE("CheckLibrary finds what a library's new version would break") {
  TestFactory test;
  const auto check = [&](const std::string& name, const std::string& code) {
    config::v1::LibraryVersion version;
    version.set_import_name(name);
    version.set_code(code);
    return Describe(test.factory->CheckLibrary(version, test.workspace));
  };
  CHECK(check("maths", "export const half = (n) => n / 2, twice = (n) => 2 * n;").empty());
  CHECK(check("maths", "import 'text'; export const half = 1;") ==
        "text:1:15: libraries import each other: maths -> text -> maths");
  CHECK(check("fresh", "import 'fresh'") ==
        "fresh:1:8: libraries import each other: fresh -> fresh");
  CHECK(check("fresh", "import {x} from 'maths'") ==
        "fresh:1:9: library maths has no export 'x'; it exports half");
  CHECK(check("fresh", "export const a = (;").substr(0, 8) == "fresh:1:");
}

TEST_CASE("a pin holds its version, and what is not pinned follows the published one") {
  TestFactory test;
  test.AddLibrary("maths", "export const half = () => 'new';", "maths-2");
  auto version = test.Version(
      "import {half} from 'maths'; export const transformEvent = () => ({half: half(4)});");
  const auto half = [&] {
    auto made = test.factory->Make(version, test.workspace);
    REQUIRE(made.ok());
    return test.Run(**made, {"{}"});
  };
  CHECK(half() == std::vector<std::string>{R"({"half":"new"})"});
  auto* pin = version.add_libraries();
  pin->set_import_name("maths");
  CHECK(half() == std::vector<std::string>{R"({"half":"new"})"});
  pin->set_library_version_id("maths-1");
  CHECK(half() == std::vector<std::string>{R"({"half":2})"});
  pin->set_library_version_id("maths-9");
  CHECK(Describe(test.factory->Check(version, test.workspace)) ==
        "transformation:1:20: import from maths failed. Module not found. It is pinned to version "
        "maths-9, which the workspace does not have");
}

TEST_CASE("what is the same is made once") {
  TestFactory test;
  auto version = test.Version(kGood);
  const auto first = test.factory->Make(version, test.workspace);
  REQUIRE(first.ok());
  CHECK(*test.factory->Make(version, test.workspace) == *first);
  test.workspace.set_revision(7);  // changes nothing that runs
  CHECK(*test.factory->Make(version, test.workspace) == *first);
  auto* credential = test.workspace.add_credentials();
  credential->set_key("k");
  credential->set_value("v");
  CHECK(*test.factory->Make(version, test.workspace) != *first);
  test.workspace.clear_credentials();
  version.mutable_limits()->set_cpu_ms(5);
  CHECK(*test.factory->Make(version, test.workspace) != *first);
}

TEST_CASE("whether a version is stateful is seen in its code and its libraries") {
  TestFactory test;
  test.AddLibrary("counter", "export const next = () => store.incr('n');", "counter-1");
  const auto stateful = [&](const std::string& code) {
    const auto made = test.factory->Make(test.Version(code), test.workspace);
    REQUIRE(made.ok());
    return (*made)->stateful();
  };
  CHECK_FALSE(stateful(kGood));
  CHECK_FALSE(stateful("export const transformEvent = (event) => event.store;"));
  CHECK(stateful("export const transformEvent = () => { store.set('a', 1); };"));
  CHECK(
      stateful("import {next} from 'counter'; export const transformEvent = () => ({n: next()});"));
}

}  // namespace
}  // namespace millrace::transformation
