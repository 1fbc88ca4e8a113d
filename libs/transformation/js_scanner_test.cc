#include "libs/transformation/js_scanner.h"

#include <catch2/catch.hpp>

namespace millrace::transformation {
namespace {

/// "specifier@line:column{name,name}*" for each import.
std::string Imports(std::string_view source) {
  std::string text;
  for (const ImportStatement& one : ScanJavaScript(source).imports) {
    if (!text.empty()) text += ' ';
    text += one.specifier + "@" + std::to_string(one.line) + ":" + std::to_string(one.column);
    std::string names;
    for (const ImportedName& name : one.names) names += (names.empty() ? "" : ",") + name.name;
    if (!names.empty()) text += "{" + names + "}";
    if (one.all_exported) text += "*";
  }
  return text;
}

TEST_CASE("imports are found where they stand") {
  struct Case {
    const char* name;
    const char* source;
    const char* imports;
  };
  const auto c = GENERATE(values<Case>({
      {"none", "export function transformEvent(event) { return event; }", ""},
      {"default", "import url from 'url';", "url@1:17{default}"},
      {"names", "\n  import {a, b as c,} from \"lib\"", "lib@2:28{a,b}"},
      {"default and names", "import d, {x} from 'lib';", "lib@1:20{default,x}"},
      {"all", "import * as all from 'lib'", "lib@1:22"},
      {"for its effect", "import 'lib'", "lib@1:8"},
      {"when called", "async () => await import('lib')", "lib@1:26"},
      {"exported on", "export {a as b} from 'x'; export * from 'y'; export * as z from 'z';",
       "x@1:22{a} y@1:41* z@1:65"},
      {"meta and members", "import.meta.url; a.import('x'); a.from; const o = {from: 'x'};", ""},
      {"comments", "// import a from 'a'\n/* import b from 'b' */ import c from 'c'",
       "c@2:39{default}"},
      {"texts", "const a = \"import b from 'b'\", c = `import d from 'd'`;", ""},
      {"templates within templates",
       "const a = `${`${'`'}`} import b from 'b'`; import c from 'c';", "c@1:58{default}"},
      {"regular expressions", "const a = /['\"`]/, b = 4 / 2 / 1; import c from 'c';",
       "c@1:49{default}"},
      {"columns are characters", "/* äöü */ import a from 'a';", "a@1:25{default}"},
      {"no export clause", "export default class {} import a from 'a'", "a@1:39{default}"},
      {"no semicolons", "export {a}\nimport b from 'b'\n", "b@2:15{default}"},
      {"a text without an end", "const a = 'x\nimport b from 'b'", "b@2:15{default}"},
  }));
  CAPTURE(c.name);
  CHECK(Imports(c.source) == c.imports);
}

TEST_CASE("what is no JavaScript is read in time that grows with its length") {
  const std::string code =
      "import d, {a as b} from 'x'; export * from 'y'; const t = `a${`b${c}`}d`; "
      "/[/]'/.test('\\'');";
  for (size_t begin = 0; begin < code.size(); ++begin) {
    for (size_t size = 0; size <= code.size() - begin; ++size) {
      ScanJavaScript(std::string_view(code).substr(begin, size));
    }
  }
  for (const char* part :
       {"import ", "export * ", "import {", "import a, ", "`${", "/", "((", "}"}) {
    std::string text;
    while (text.size() < 500'000) text += part;
    CHECK(ScanJavaScript(text).imports.empty());
  }
}

TEST_CASE("the use of the store is found") {
  struct Case {
    const char* source;
    bool uses;
  };
  const auto c = GENERATE(values<Case>({
      {"store.get('a')", true},
      {"const s = store;", true},
      {"f({store})", true},
      {"a ? store : b", true},
      {"`${store.get('x')}`", true},
      {"event.store.name = 1", false},
      {"event?.store", false},
      {"const o = {store: 1, 'store': 2}", false},
      {"// store.get\nconst a = 'store.get()'", false},
      {"stores.get()", false},
  }));
  CAPTURE(c.source);
  CHECK(ScanJavaScript(c.source).uses_store == c.uses);
}

TEST_CASE("the legacy entry point is one at the top of a script") {
  CHECK(ScanJavaScript("async function transform(events) {}").defines_transform);
  CHECK(ScanJavaScript("const transform = (events) => events;").defines_transform);
  CHECK_FALSE(ScanJavaScript("function f() { function transform() {} }").defines_transform);
  CHECK_FALSE(ScanJavaScript("transform(1); a.transform = 1").defines_transform);
  CHECK(ScanJavaScript("export const a = 1;").exports_something);
  CHECK_FALSE(ScanJavaScript("const a = {export: 1}; a.export").exports_something);
}

}  // namespace
}  // namespace millrace::transformation
