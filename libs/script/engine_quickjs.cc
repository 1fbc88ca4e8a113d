#include "libs/script/engine.h"
#include "libs/script/quickjs_instance.h"

namespace millrace::script {
namespace {

class QuickJsEngine final : public Engine {
 public:
  StatusOr<std::unique_ptr<Instance>> Load(std::shared_ptr<const Module> module, Outside* outside,
                                           const CallView& first) override {
    auto instance = std::make_unique<QuickJsInstance>(std::move(module), outside);
    MR_RETURN_IF_ERROR(instance->Load(first));
    return StatusOr<std::unique_ptr<Instance>>(std::move(instance));
  }

  StatusOr<Inspection> Inspect(const std::string& name, const std::string& source,
                               SourceFault* fault) override {
    auto module = std::make_shared<const Module>(Module{.id = name, .source = source});
    return QuickJsInstance(std::move(module), nullptr).Inspect(fault);
  }
};

}  // namespace

std::unique_ptr<Engine> MakeQuickJsEngine() {
  return std::make_unique<QuickJsEngine>();
}

}  // namespace millrace::script
