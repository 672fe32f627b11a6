// A VST3 effect of one knob, "Level" (0 to 1, linear), for tests: 32-bit stereo, no editor, no dependencies.
// The binary interface of VST3 is spelled out here as far as it is needed: interfaces are tables of functions in a
// fixed order, found by 128-bit names.
#include <cstdint>
#include <cstring>

typedef int32_t tresult;
typedef uint8_t TUID[16];
typedef char16_t String128[128];
const tresult ok = 0, no = 1, no_interface = -1;

#define WORD(x) (x) >> 24 & 255, (x) >> 16 & 255, (x) >> 8 & 255, (x) & 255
#define UID(name, a, b, c, d) const TUID name = {WORD(a##u), WORD(b##u), WORD(c##u), WORD(d##u)}
UID(unknown_id, 0x00000000, 0x00000000, 0xC0000000, 0x00000046);
UID(base_id, 0x22888DDB, 0x156E45AE, 0x8358B348, 0x08190625);
UID(factory_id, 0x7A4D811C, 0x52114A1F, 0xAED9D2EE, 0x0B43BF9F);
UID(component_id, 0xE831FF31, 0xF2D54301, 0x928EBBEE, 0x25697802);
UID(processor_id, 0x42043F99, 0xB7DA453C, 0xA569E79D, 0x9AAEC33D);
UID(controller_id, 0xDCD7BBE3, 0x7742448D, 0xA874AACC, 0x979C759E);
UID(gain_class, 0x5A4D0001, 0x7E574701, 0xA1B2C3D4, 0x00000001);

struct Unknown {
    virtual tresult queryInterface(const TUID iid, void** object) = 0;
    virtual uint32_t addRef() = 0;
    virtual uint32_t release() = 0;
};

struct BusInfo { int32_t media, direction, channels; String128 name; int32_t type; uint32_t flags; };
struct ProcessSetup { int32_t mode, sampleSize, maxSamples; double rate; };
struct BusBuffers { int32_t channels; uint64_t silence; float** samples; };
struct ParamValueQueue : Unknown {
    virtual uint32_t getParameterId() = 0;
    virtual int32_t getPointCount() = 0;
    virtual tresult getPoint(int32_t index, int32_t& offset, double& value) = 0;
    virtual tresult addPoint(int32_t offset, double value, int32_t& index) = 0;
};
struct ParameterChanges : Unknown {
    virtual int32_t getParameterCount() = 0;
    virtual ParamValueQueue* getParameterData(int32_t index) = 0;
    virtual ParamValueQueue* addParameterData(const uint32_t& id, int32_t& index) = 0;
};
struct ProcessData {
    int32_t mode, sampleSize, samples, inputs, outputs;
    BusBuffers *in, *out;
    ParameterChanges *inChanges, *outChanges;
    void *inEvents, *outEvents, *context;
};
struct ParameterInfo {
    uint32_t id;
    String128 title, shortTitle, units;
    int32_t steps;
    double defaultValue;
    int32_t unit, flags;
};
struct Stream : Unknown {
    virtual tresult read(void* buffer, int32_t bytes, int32_t* done) = 0;
    virtual tresult write(void* buffer, int32_t bytes, int32_t* done) = 0;
};

struct Base : Unknown {
    virtual tresult initialize(Unknown* context) = 0;
    virtual tresult terminate() = 0;
};
struct Component : Base {
    virtual tresult getControllerClassId(TUID id) = 0;
    virtual tresult setIoMode(int32_t mode) = 0;
    virtual int32_t getBusCount(int32_t media, int32_t direction) = 0;
    virtual tresult getBusInfo(int32_t media, int32_t direction, int32_t index, BusInfo& bus) = 0;
    virtual tresult getRoutingInfo(void* in, void* out) = 0;
    virtual tresult activateBus(int32_t media, int32_t direction, int32_t index, uint8_t state) = 0;
    virtual tresult setActive(uint8_t state) = 0;
    virtual tresult setState(Stream* state) = 0;
    virtual tresult getState(Stream* state) = 0;
};
struct Processor : Unknown {
    virtual tresult setBusArrangements(uint64_t* in, int32_t ins, uint64_t* out, int32_t outs) = 0;
    virtual tresult getBusArrangement(int32_t direction, int32_t index, uint64_t& arrangement) = 0;
    virtual tresult canProcessSampleSize(int32_t size) = 0;
    virtual uint32_t getLatencySamples() = 0;
    virtual tresult setupProcessing(ProcessSetup& setup) = 0;
    virtual tresult setProcessing(uint8_t state) = 0;
    virtual tresult process(ProcessData& data) = 0;
    virtual uint32_t getTailSamples() = 0;
};
struct Controller : Base {
    virtual tresult setComponentState(Stream* state) = 0;
    virtual tresult setState(Stream* state) = 0;
    virtual tresult getState(Stream* state) = 0;
    virtual int32_t getParameterCount() = 0;
    virtual tresult getParameterInfo(int32_t index, ParameterInfo& info) = 0;
    virtual tresult getParamStringByValue(uint32_t id, double value, String128 text) = 0;
    virtual tresult getParamValueByString(uint32_t id, char16_t* text, double& value) = 0;
    virtual double normalizedParamToPlain(uint32_t id, double value) = 0;
    virtual double plainParamToNormalized(uint32_t id, double value) = 0;
    virtual double getParamNormalized(uint32_t id) = 0;
    virtual tresult setParamNormalized(uint32_t id, double value) = 0;
    virtual tresult setComponentHandler(Unknown* handler) = 0;
    virtual void* createView(const char* name) = 0;
};

static void copy(char16_t* to, const char16_t* from) {
    while ((*to++ = *from++)) {}
}

struct Gain : Component, Processor, Controller {
    int32_t references = 1;
    double level = 1.0;

    virtual ~Gain() {}
    tresult queryInterface(const TUID iid, void** object) override {
        if (!memcmp(iid, unknown_id, 16) || !memcmp(iid, base_id, 16) || !memcmp(iid, component_id, 16))
            *object = static_cast<Component*>(this);
        else if (!memcmp(iid, processor_id, 16))
            *object = static_cast<Processor*>(this);
        else if (!memcmp(iid, controller_id, 16))
            *object = static_cast<Controller*>(this);
        else {
            *object = nullptr;
            return no_interface;
        }
        ++references;
        return ok;
    }
    uint32_t addRef() override { return ++references; }
    uint32_t release() override {
        uint32_t left = --references;
        if (!left) delete this;
        return left;
    }
    tresult initialize(Unknown*) override { return ok; }
    tresult terminate() override { return ok; }

    tresult getControllerClassId(TUID) override { return no; }  // one object is both
    tresult setIoMode(int32_t) override { return ok; }
    int32_t getBusCount(int32_t media, int32_t) override { return media == 0 ? 1 : 0; }
    tresult getBusInfo(int32_t media, int32_t direction, int32_t index, BusInfo& bus) override {
        if (media != 0 || index != 0) return no;
        bus.media = 0;
        bus.direction = direction;
        bus.channels = 2;
        copy(bus.name, direction ? u"Out" : u"In");
        bus.type = 0;
        bus.flags = 1;
        return ok;
    }
    tresult getRoutingInfo(void*, void*) override { return no; }
    tresult activateBus(int32_t, int32_t, int32_t, uint8_t) override { return ok; }
    tresult setActive(uint8_t) override { return ok; }
    tresult setState(Stream* state) override {
        int32_t done = 0;
        double value = 0;
        if (state->read(&value, sizeof value, &done) == ok && done == sizeof value) level = value;
        return ok;
    }
    tresult getState(Stream* state) override {
        int32_t done = 0;
        return state->write(&level, sizeof level, &done);
    }

    tresult setBusArrangements(uint64_t* in, int32_t ins, uint64_t* out, int32_t outs) override {
        return ins == 1 && outs == 1 && in[0] == 3 && out[0] == 3 ? ok : no;
    }
    tresult getBusArrangement(int32_t, int32_t, uint64_t& arrangement) override {
        arrangement = 3;  // left and right
        return ok;
    }
    tresult canProcessSampleSize(int32_t size) override { return size == 0 ? ok : no; }
    uint32_t getLatencySamples() override { return 0; }
    tresult setupProcessing(ProcessSetup&) override { return ok; }
    tresult setProcessing(uint8_t) override { return ok; }
    tresult process(ProcessData& data) override {
        for (int32_t i = 0; data.inChanges && i < data.inChanges->getParameterCount(); ++i) {
            ParamValueQueue* changes = data.inChanges->getParameterData(i);
            int32_t offset = 0;
            if (changes && changes->getParameterId() == 1 && changes->getPointCount() > 0)
                changes->getPoint(changes->getPointCount() - 1, offset, level);
        }
        for (int32_t c = 0; data.inputs && data.outputs && c < data.out[0].channels; ++c)
            for (int32_t i = 0; i < data.samples; ++i)
                data.out[0].samples[c][i] = data.in[0].samples[c][i] * float(level);
        return ok;
    }
    uint32_t getTailSamples() override { return 0; }

    tresult setComponentState(Stream* state) override { return setState(state); }
    int32_t getParameterCount() override { return 1; }
    tresult getParameterInfo(int32_t index, ParameterInfo& info) override {
        if (index != 0) return no;
        info.id = 1;
        copy(info.title, u"Level");
        copy(info.shortTitle, u"Level");
        copy(info.units, u"");
        info.steps = 0;
        info.defaultValue = 1.0;
        info.unit = 0;
        info.flags = 1;
        return ok;
    }
    tresult getParamStringByValue(uint32_t, double value, String128 text) override {
        int thousandths = int(value * 1000 + 0.5);
        char16_t digits[] = u"0.000";
        digits[0] += thousandths / 1000;
        digits[2] += thousandths / 100 % 10;
        digits[3] += thousandths / 10 % 10;
        digits[4] += thousandths % 10;
        copy(text, digits);
        return ok;
    }
    tresult getParamValueByString(uint32_t, char16_t*, double&) override { return no; }
    double normalizedParamToPlain(uint32_t, double value) override { return value; }
    double plainParamToNormalized(uint32_t, double value) override { return value; }
    double getParamNormalized(uint32_t) override { return level; }
    tresult setParamNormalized(uint32_t, double value) override {
        level = value;
        return ok;
    }
    tresult setComponentHandler(Unknown*) override { return ok; }
    void* createView(const char*) override { return nullptr; }
};

struct FactoryInfo { char vendor[64], url[256], email[128]; int32_t flags; };
struct ClassInfo { TUID id; int32_t cardinality; char category[32], name[64]; };

struct Factory : Unknown {
    tresult queryInterface(const TUID iid, void** object) override {
        bool known = !memcmp(iid, unknown_id, 16) || !memcmp(iid, factory_id, 16);
        *object = known ? this : nullptr;
        return known ? ok : no_interface;
    }
    uint32_t addRef() override { return 1; }
    uint32_t release() override { return 1; }
    virtual tresult getFactoryInfo(FactoryInfo* info) {
        memset(info, 0, sizeof *info);
        strcpy(info->vendor, "sam-audio tests");
        info->flags = 16;  // text is UTF-16
        return ok;
    }
    virtual int32_t countClasses() { return 1; }
    virtual tresult getClassInfo(int32_t index, ClassInfo* info) {
        if (index != 0) return no;
        memset(info, 0, sizeof *info);
        memcpy(info->id, gain_class, 16);
        info->cardinality = 0x7FFFFFFF;
        strcpy(info->category, "Audio Module Class");
        strcpy(info->name, "Test Gain");
        return ok;
    }
    virtual tresult createInstance(const char* id, const char* iid, void** object) {
        *object = nullptr;
        if (memcmp(id, gain_class, 16)) return no;
        Gain* gain = new Gain;
        tresult result = gain->queryInterface(reinterpret_cast<const uint8_t*>(iid), object);
        static_cast<Component*>(gain)->release();
        return result;
    }
};

static Factory factory;
extern "C" __attribute__((visibility("default"))) Factory* GetPluginFactory() { return &factory; }
extern "C" __attribute__((visibility("default"))) bool ModuleEntry(void*) { return true; }
extern "C" __attribute__((visibility("default"))) bool ModuleExit() { return true; }
