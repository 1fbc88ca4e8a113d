#pragma once

#include <quickjs.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "libs/script/cpu_meter.h"
#include "libs/script/engine.h"
#include "libs/script/json_writer.h"

namespace millrace::script {

inline constexpr size_t kMaxLogBytes = 8 << 10;
inline constexpr char kAdapterName[] = "<adapter>";
inline constexpr char kPreludeName[] = "<prelude>";

/// One call between its start and its end.
struct RunningCall {
  uint32_t number = 0;  // 0: code that runs for no call
  CallView view;
  CallOutput output;
  JSValue event = JS_UNDEFINED;  // context.event
  JSValue extra = JS_UNDEFINED;  // host.extra
  JSValue promise = JS_UNDEFINED;
  size_t emitted_bytes = 0;
  uint64_t random_state = 0;
  uint32_t uuids = 0;
  bool refused = false;  // asked for more memory than the heap may have
};

/// A module in a QuickJS runtime of its own: see Instance.
class QuickJsInstance final : public Instance {
 public:
  QuickJsInstance(std::shared_ptr<const Module> module, Outside* outside);
  QuickJsInstance(const QuickJsInstance&) = delete;
  QuickJsInstance& operator=(const QuickJsInstance&) = delete;
  ~QuickJsInstance() override;

  Status Load(const CallView& first);
  /// Of a module that was not loaded.
  StatusOr<Inspection> Inspect(SourceFault* fault);

  void Start(uint32_t call, const CallView& view) override;
  void Answer(uint32_t request, const HostAnswer& answer) override;
  uint32_t TakeEnded(CallOutput* output) override;
  size_t heap_bytes() const override;
  bool spent() const override { return spent_; }
  bool loaded_by_time() const override { return loaded_by_time_; }

 private:
  static QuickJsInstance* Self(JSContext* context) {
    return static_cast<QuickJsInstance*>(JS_GetContextOpaque(context));
  }

  // quickjs_instance.cc: the runtime, calls and slices.
  Status MakeRuntime();
  static int Interrupt(JSRuntime*, void* opaque);
  static void SwitchCall(void* opaque, uint32_t call);
  RunningCall* Find(uint32_t call);
  void BeginSlice(RunningCall* call);
  void TellWhoRuns();
  /// Runs jobs until none is left; false when a limit was broken, which has then ended a call.
  bool RunJobs();
  void EndSlice();
  void EndSettled();
  /// Ends `call` with the value or, when it is JS_EXCEPTION, with what was thrown. Frees `result`.
  void End(RunningCall* call, JSValue result);
  void FailStuck(RunningCall* call);
  void Release(RunningCall* call);
  bool ParseEvent(RunningCall* call);
  /// Runs jobs until `value`, when it is a promise, has settled; gives its value or JS_EXCEPTION.
  JSValue SettleWhileLoading(JSValue value);

  // quickjs_errors.cc
  /// Takes the pending exception as text and says of what class it is.
  ErrorClass TakeException(std::string* message, std::string* stack);
  /// Adds what an error was caused by, and what an AggregateError holds.
  void AddCauses(JSValueConst error, int most, std::string* stack);
  Status LoadFault(std::string_view where);
  ErrorClass ClassOf(std::string_view message) const;
  std::string OutOfMemory() const;
  std::string ToText(JSValueConst value);
  /// What was thrown, which may be any value.
  std::string TextOfThrown(JSValueConst value);

  // quickjs_load.cc
  Status MakeAdapter();
  Status LoadModule();
  JSValue Compile(const std::string& source);
  /// The module's source, with an export added where it lacks what is wanted.
  StatusOr<JSModuleDef*> CompileWanted(JSValue* compiled);
  static char* NormalizeName(JSContext* context, const char* base, const char* name, void* opaque);
  static JSModuleDef* LoadLibrary(JSContext* context, const char* name, void* opaque);
  std::string ExplainImport(std::string message) const;

  // quickjs_globals.cc: what scripts find in their realm.
  Status MakeGlobals();
  static JSValue Now(JSContext* context, JSValueConst, int, JSValueConst*);
  static JSValue Random(JSContext* context, JSValueConst, int, JSValueConst*);
  static JSValue Uuid(JSContext* context, JSValueConst, int, JSValueConst*);
  static JSValue Log(JSContext* context, JSValueConst, int count, JSValueConst* values);
  static JSValue Mentions(JSContext* context, JSValueConst, int count, JSValueConst* values);
  static JSValue Changed(JSContext* context, JSValueConst, int count, JSValueConst* values);
  static JSValue GetNow(JSContext* context, JSValueConst);
  static JSValue GetEvent(JSContext* context, JSValueConst);
  static JSValue GetRaw(JSContext* context, JSValueConst);

  // quickjs_host.cc: what adapters find in `host`.
  JSValue MakeHost();
  static JSValue Ask(JSContext* context, JSValueConst, int count, JSValueConst* values);
  static JSValue AskNow(JSContext* context, JSValueConst, int count, JSValueConst* values);
  static JSValue Emit(JSContext* context, JSValueConst, int count, JSValueConst* values);
  static JSValue Fail(JSContext* context, JSValueConst, int count, JSValueConst* values);
  static JSValue GetShared(JSContext* context, JSValueConst);
  static JSValue GetExtra(JSContext* context, JSValueConst);
  static JSValue GetConfig(JSContext* context, JSValueConst);
  static JSValue GetTest(JSContext* context, JSValueConst);
  /// Writes name and arguments of a question; false: an exception is pending.
  bool WriteQuestion(int count, JSValueConst* values, std::string* name, std::string* arguments);
  JSValue MakeError(const HostAnswer& answer);
  JSValue ParseAnswer(const HostAnswer& answer);
  bool AddEmitted(Emitted emitted);

  const std::shared_ptr<const Module> module_;
  const Limits limits_;
  Outside* const outside_;
  JSRuntime* runtime_ = nullptr;
  JSContext* context_ = nullptr;
  JSValue config_ = JS_UNDEFINED;
  JSValue call_context_ = JS_UNDEFINED;
  JSValue raw_ = JS_UNDEFINED;
  JSValue entry_ = JS_UNDEFINED;
  JSValue adapter_ = JS_UNDEFINED;  // after its first call, until the module is loaded
  JSValue shared_ = JS_UNDEFINED;   // of the batch `shared_of_`
  uint64_t shared_of_ = 0;
  std::optional<JsonWriter> writer_;

  struct Request {
    uint32_t call = 0;
    JSValue resolve = JS_UNDEFINED;
    JSValue reject = JS_UNDEFINED;
  };
  std::unordered_map<uint32_t, Request> requests_;
  std::unordered_map<uint32_t, std::unique_ptr<RunningCall>> waiting_;
  std::deque<std::pair<uint32_t, CallOutput>> ended_;

  RunningCall nobody_;
  RunningCall* current_ = &nobody_;  // whose code runs
  RunningCall* owner_ = &nobody_;    // whose slice it is
  RunningCall* payer_ = &nobody_;    // whose time it takes: current_, or owner_ for nobody's code
  CpuMeter meter_;
  bool loading_ = true;
  bool loaded_by_time_ = false;
  bool inspecting_ = false;
  bool needs_event_ = true;
  bool timed_out_ = false;
  bool spent_ = false;
};

}  // namespace millrace::script
